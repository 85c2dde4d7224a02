"""Knows how answers look on the wire, and reads them into plain frozen values.

It refuses to know requests and channels. What the server left unset is ``None`` here, never 0.
"""

from google.protobuf.timestamp_pb2 import Timestamp

from ilk.client.wire.refusals import error_from_query
from ilk.errors import IlkError, ServiceError
from ilk.types import (
    BundleInfo,
    Contribution,
    Explanation,
    Item,
    MeasuredRecall,
    Neighbor,
    Neighbors,
    RatingPrediction,
    RefusedBundle,
    Shortfall,
    ShortfallReason,
    TitleMatch,
)
from ilk.v1 import similarity_pb2 as pb

_MICROS_PER_S = 1e6

_SHORTFALL_REASONS: dict[int, ShortfallReason] = {
    pb.SHORTFALL_REASON_FILTERED: ShortfallReason.FILTERED,
    pb.SHORTFALL_REASON_WITHHELD: ShortfallReason.WITHHELD,
}


def neighbors_from(response: pb.FindNeighborsResponse) -> Neighbors:
    """Return the neighbors in the order in which the server ranked them."""
    return Neighbors(
        neighbors=tuple(map(_neighbor, response.neighbors)),
        bundle_version=response.bundle_version,
        content_weight=response.content_weight,
        shortfall=_shortfall(response.shortfall) if response.HasField("shortfall") else None,
        ignored_ids=tuple(response.ignored_ids),
    )


def outcome_from(outcome: pb.QueryOutcome | pb.StreamFindNeighborsResponse) -> Neighbors | IlkError:
    """Return one query's answer, or the error that its own call would have raised."""
    kind = outcome.WhichOneof("outcome")
    if kind == "response":
        return neighbors_from(outcome.response)
    if kind == "error":
        return error_from_query(outcome.error)
    return ServiceError("the server sent neither an answer nor an error for a query")


def outcomes_from(
    response: pb.BatchFindNeighborsResponse, n_queries: int
) -> list[Neighbors | IlkError]:
    """Return a batch's outcomes in the order of its queries.

    Raises
    ------
    ServiceError
        If there are not ``n_queries`` of them: which belongs to which query could not be told.
    """
    if len(response.outcomes) != n_queries:
        raise ServiceError(f"{len(response.outcomes)} outcomes came for {n_queries} queries")
    return [outcome_from(outcome) for outcome in response.outcomes]


def predictions_from(response: pb.PredictRatingsResponse) -> list[RatingPrediction]:
    """Return the predicted stars in the order of the items asked about."""
    return [
        RatingPrediction(told.item_id, told.stars, told.neighbor_count)
        for told in response.predictions
    ]


def matches_from(response: pb.SearchTitlesResponse) -> list[TitleMatch]:
    """Return the titles found, best match first."""
    return [TitleMatch(_item(match.item), match.score) for match in response.matches]


def items_from(response: pb.GetItemsResponse) -> dict[str, Item]:
    """Return the known items by id, in the order of the ids asked for."""
    return {item.id: _item(item) for item in response.items}


def bundle_from(response: pb.GetBundleResponse) -> BundleInfo:
    """Return what is being served."""
    scale = response.rating_scale
    return BundleInfo(
        version=response.bundle_version,
        format_version=response.format_version,
        created_at_s=_moment_s(response.created_at),
        user_count=response.user_count,
        item_count=response.item_count,
        rating_count=response.rating_count,
        genres=tuple(response.genres),
        rating_scale=(scale.min, scale.max) if response.HasField("rating_scale") else None,
        default_content_weight=response.default_content_weight,
        default_recall=response.default_recall,
        recall=tuple(map(_measured_recall, response.recall)),
        quality=dict(response.quality),
        source=response.source,
        simulated=response.simulated,
        settings=dict(response.settings),
        live_since_s=_moment_s(response.live_since) if response.HasField("live_since") else None,
        refused=tuple(
            RefusedBundle(told.bundle_version, _moment_s(told.refused_at), told.reason)
            for told in response.refused
        ),
    )


def _moment_s(moment: Timestamp) -> float:
    try:
        return moment.ToMicroseconds() / _MICROS_PER_S
    except ValueError as error:
        raise ServiceError(f"the server tells a time that is none: {error}") from error


def _neighbor(message: pb.Neighbor) -> Neighbor:
    has = message.HasField
    return Neighbor(
        id=message.id,
        score=message.score,
        collaborative=message.collaborative if has("collaborative") else None,
        content=message.content if has("content") else None,
        unrelated=message.unrelated,
        inferred=message.inferred,
        explanation=_explanation(message.explanation) if has("explanation") else None,
    )


def _explanation(message: pb.Explanation) -> Explanation:
    return Explanation(
        items=tuple(Contribution(part.name, part.contribution) for part in message.items),
        genres=tuple(Contribution(part.name, part.contribution) for part in message.genres),
    )


def _shortfall(message: pb.Shortfall) -> Shortfall:
    # A reason younger than this client reads as an exhausted bundle; the message says the rest.
    reason = _SHORTFALL_REASONS.get(message.reason, ShortfallReason.BUNDLE_EXHAUSTED)
    return Shortfall(message.requested, message.returned, reason, message.message)


def _item(message: pb.Item) -> Item:
    return Item(
        id=message.id,
        title=message.title,
        year=message.year if message.HasField("year") else None,
        genres=tuple(message.genres),
        rating_count=message.rating_count,
        mean_rating=message.mean_rating if message.HasField("mean_rating") else None,
    )


def _measured_recall(message: pb.MeasuredRecall) -> MeasuredRecall:
    return MeasuredRecall(
        space=message.space,
        index=message.index,
        effort=message.effort,
        content_weight=message.content_weight,
        recall_at_10=message.recall_at_10,
        recall_at_100=message.recall_at_100,
        others_at_10=message.others_recall_at_10
        if message.HasField("others_recall_at_10")
        else None,
        well_known_at_10=message.well_known_recall_at_10
        if message.HasField("well_known_recall_at_10")
        else None,
        cpu_us=message.cpu_us,
    )
