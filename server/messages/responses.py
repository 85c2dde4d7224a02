"""Knows how answers become messages, with as little work per neighbor as Python allows.

It refuses to know how answers are found.
"""

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from ilk.types import (
    BundleInfo,
    Explanation,
    Item,
    Neighbors,
    RatingPrediction,
    RefusedBundle,
    Shortfall,
    ShortfallReason,
    TitleMatch,
)
from ilk.v1 import similarity_pb2 as pb

_REASONS = {
    ShortfallReason.BUNDLE_EXHAUSTED: pb.SHORTFALL_REASON_BUNDLE_EXHAUSTED,
    ShortfallReason.FILTERED: pb.SHORTFALL_REASON_FILTERED,
    ShortfallReason.WITHHELD: pb.SHORTFALL_REASON_WITHHELD,
}


def neighbors_message(answer: Neighbors) -> pb.FindNeighborsResponse:
    """Return the answer as a message."""
    message = rest_message(answer)
    # Adding in place costs less than half of passing a list of messages.
    add = message.neighbors.add
    for neighbor in answer.neighbors:
        added = add(id=neighbor.id, score=neighbor.score)
        if neighbor.collaborative is not None and neighbor.content is not None:
            added.collaborative = neighbor.collaborative
            added.content = neighbor.content
        if neighbor.unrelated:
            added.unrelated = True
        if neighbor.inferred:
            added.inferred = True
        if neighbor.explanation is not None:
            added.explanation.CopyFrom(_explanation(neighbor.explanation))
    return message


def rest_message(answer: Neighbors) -> pb.FindNeighborsResponse:
    """Return the answer as a message, but for its neighbors."""
    message = pb.FindNeighborsResponse(
        bundle_version=answer.bundle_version,
        content_weight=answer.content_weight,
        ignored_ids=answer.ignored_ids,
    )
    if answer.shortfall is not None:
        message.shortfall.CopyFrom(_shortfall(answer.shortfall))
    return message


def _explanation(explanation: Explanation) -> pb.Explanation:
    return pb.Explanation(
        items=[
            pb.Contribution(name=c.name, contribution=c.contribution) for c in explanation.items
        ],
        genres=[
            pb.Contribution(name=c.name, contribution=c.contribution) for c in explanation.genres
        ],
    )


def _shortfall(shortfall: Shortfall) -> pb.Shortfall:
    return pb.Shortfall(
        requested=shortfall.requested,
        returned=shortfall.returned,
        reason=_REASONS[shortfall.reason],
        message=shortfall.message,
    )


def item_message(item: Item) -> pb.Item:
    """Return an item as a message; what is unknown stays unset."""
    return pb.Item(
        id=item.id,
        title=item.title,
        year=item.year,
        genres=item.genres,
        rating_count=item.rating_count,
        mean_rating=item.mean_rating,
    )


def title_match_message(match: TitleMatch) -> pb.TitleMatch:
    """Return a title match as a message."""
    return pb.TitleMatch(item=item_message(match.item), score=match.score)


def prediction_message(prediction: RatingPrediction) -> pb.RatingPrediction:
    """Return a prediction as a message."""
    return pb.RatingPrediction(
        item_id=prediction.item_id,
        stars=prediction.stars,
        neighbor_count=prediction.neighbor_count,
    )


def bundle_message(
    info: BundleInfo, live_since_s: float, refused: Iterable[RefusedBundle]
) -> pb.GetBundleResponse:
    """Return a bundle's description, since when it is served and what was not, as a message."""
    message = pb.GetBundleResponse(
        live_since=_timestamp(live_since_s),
        refused=[
            pb.RefusedBundle(
                bundle_version=told.version,
                refused_at=_timestamp(told.refused_at_s),
                reason=told.reason,
            )
            for told in refused
        ],
        bundle_version=info.version,
        format_version=info.format_version,
        created_at=Timestamp(seconds=int(info.created_at_s)),
        user_count=info.user_count,
        item_count=info.item_count,
        rating_count=info.rating_count,
        genres=info.genres,
        default_content_weight=info.default_content_weight,
        default_recall=info.default_recall,
        quality=info.quality,
        source=info.source,
        simulated=info.simulated,
        settings=info.settings,
    )
    if info.rating_scale is not None:
        message.rating_scale.min, message.rating_scale.max = info.rating_scale
    for row in info.recall:
        message.recall.add(
            space=row.space,
            index=row.index,
            effort=row.effort,
            content_weight=row.content_weight,
            recall_at_10=row.recall_at_10,
            recall_at_100=row.recall_at_100,
            well_known_recall_at_10=row.well_known_at_10,
            others_recall_at_10=row.others_at_10,
            cpu_us=row.cpu_us,
        )
    return message


def _timestamp(moment_s: float) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(round(1e6 * moment_s))
    return moment
