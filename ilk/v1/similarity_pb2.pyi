import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Target(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TARGET_UNSPECIFIED: _ClassVar[Target]
    TARGET_ITEMS: _ClassVar[Target]
    TARGET_USERS: _ClassVar[Target]

class ShortfallReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHORTFALL_REASON_UNSPECIFIED: _ClassVar[ShortfallReason]
    SHORTFALL_REASON_BUNDLE_EXHAUSTED: _ClassVar[ShortfallReason]
    SHORTFALL_REASON_FILTERED: _ClassVar[ShortfallReason]
    SHORTFALL_REASON_WITHHELD: _ClassVar[ShortfallReason]

class PredictionMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREDICTION_METHOD_UNSPECIFIED: _ClassVar[PredictionMethod]
    PREDICTION_METHOD_BASELINE_KNN: _ClassVar[PredictionMethod]
    PREDICTION_METHOD_COSINE_KNN: _ClassVar[PredictionMethod]
TARGET_UNSPECIFIED: Target
TARGET_ITEMS: Target
TARGET_USERS: Target
SHORTFALL_REASON_UNSPECIFIED: ShortfallReason
SHORTFALL_REASON_BUNDLE_EXHAUSTED: ShortfallReason
SHORTFALL_REASON_FILTERED: ShortfallReason
SHORTFALL_REASON_WITHHELD: ShortfallReason
PREDICTION_METHOD_UNSPECIFIED: PredictionMethod
PREDICTION_METHOD_BASELINE_KNN: PredictionMethod
PREDICTION_METHOD_COSINE_KNN: PredictionMethod

class FindNeighborsRequest(_message.Message):
    __slots__ = ("target", "item_id", "user_id", "profile", "examples", "text", "content_weight", "filter", "neighbor_count", "offset", "accuracy", "diversity", "popularity_penalty", "include_components", "include_explanation", "ignore_unknown_ids")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    IGNORE_UNKNOWN_IDS_FIELD_NUMBER: _ClassVar[int]
    target: Target
    item_id: str
    user_id: str
    profile: Profile
    examples: Examples
    text: str
    content_weight: float
    filter: Filter
    neighbor_count: int
    offset: int
    accuracy: Accuracy
    diversity: float
    popularity_penalty: float
    include_components: bool
    include_explanation: bool
    ignore_unknown_ids: bool
    def __init__(self, target: _Optional[_Union[Target, str]] = ..., item_id: _Optional[str] = ..., user_id: _Optional[str] = ..., profile: _Optional[_Union[Profile, _Mapping]] = ..., examples: _Optional[_Union[Examples, _Mapping]] = ..., text: _Optional[str] = ..., content_weight: _Optional[float] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., neighbor_count: _Optional[int] = ..., offset: _Optional[int] = ..., accuracy: _Optional[_Union[Accuracy, _Mapping]] = ..., diversity: _Optional[float] = ..., popularity_penalty: _Optional[float] = ..., include_components: bool = ..., include_explanation: bool = ..., ignore_unknown_ids: bool = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("ratings", "liked_item_ids", "disliked_item_ids", "favorite_genres", "half_life")
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    LIKED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    DISLIKED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    FAVORITE_GENRES_FIELD_NUMBER: _ClassVar[int]
    HALF_LIFE_FIELD_NUMBER: _ClassVar[int]
    ratings: _containers.RepeatedCompositeFieldContainer[Rating]
    liked_item_ids: _containers.RepeatedScalarFieldContainer[str]
    disliked_item_ids: _containers.RepeatedScalarFieldContainer[str]
    favorite_genres: _containers.RepeatedScalarFieldContainer[str]
    half_life: _duration_pb2.Duration
    def __init__(self, ratings: _Optional[_Iterable[_Union[Rating, _Mapping]]] = ..., liked_item_ids: _Optional[_Iterable[str]] = ..., disliked_item_ids: _Optional[_Iterable[str]] = ..., favorite_genres: _Optional[_Iterable[str]] = ..., half_life: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Rating(_message.Message):
    __slots__ = ("item_id", "stars", "rated_at")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    STARS_FIELD_NUMBER: _ClassVar[int]
    RATED_AT_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    stars: float
    rated_at: _timestamp_pb2.Timestamp
    def __init__(self, item_id: _Optional[str] = ..., stars: _Optional[float] = ..., rated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Examples(_message.Message):
    __slots__ = ("positive_item_ids", "negative_item_ids")
    POSITIVE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    positive_item_ids: _containers.RepeatedScalarFieldContainer[str]
    negative_item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, positive_item_ids: _Optional[_Iterable[str]] = ..., negative_item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("any_genres", "all_genres", "no_genres", "min_year", "max_year", "include_ids", "exclude_ids", "exclude_seen")
    ANY_GENRES_FIELD_NUMBER: _ClassVar[int]
    ALL_GENRES_FIELD_NUMBER: _ClassVar[int]
    NO_GENRES_FIELD_NUMBER: _ClassVar[int]
    MIN_YEAR_FIELD_NUMBER: _ClassVar[int]
    MAX_YEAR_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_IDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_IDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    any_genres: _containers.RepeatedScalarFieldContainer[str]
    all_genres: _containers.RepeatedScalarFieldContainer[str]
    no_genres: _containers.RepeatedScalarFieldContainer[str]
    min_year: int
    max_year: int
    include_ids: _containers.RepeatedScalarFieldContainer[str]
    exclude_ids: _containers.RepeatedScalarFieldContainer[str]
    exclude_seen: bool
    def __init__(self, any_genres: _Optional[_Iterable[str]] = ..., all_genres: _Optional[_Iterable[str]] = ..., no_genres: _Optional[_Iterable[str]] = ..., min_year: _Optional[int] = ..., max_year: _Optional[int] = ..., include_ids: _Optional[_Iterable[str]] = ..., exclude_ids: _Optional[_Iterable[str]] = ..., exclude_seen: bool = ...) -> None: ...

class Accuracy(_message.Message):
    __slots__ = ("recall", "exact")
    RECALL_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    recall: float
    exact: bool
    def __init__(self, recall: _Optional[float] = ..., exact: bool = ...) -> None: ...

class FindNeighborsResponse(_message.Message):
    __slots__ = ("neighbors", "bundle_version", "shortfall", "content_weight", "ignored_ids")
    NEIGHBORS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_FIELD_NUMBER: _ClassVar[int]
    CONTENT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    IGNORED_IDS_FIELD_NUMBER: _ClassVar[int]
    neighbors: _containers.RepeatedCompositeFieldContainer[Neighbor]
    bundle_version: str
    shortfall: Shortfall
    content_weight: float
    ignored_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, neighbors: _Optional[_Iterable[_Union[Neighbor, _Mapping]]] = ..., bundle_version: _Optional[str] = ..., shortfall: _Optional[_Union[Shortfall, _Mapping]] = ..., content_weight: _Optional[float] = ..., ignored_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Neighbor(_message.Message):
    __slots__ = ("id", "score", "collaborative", "content", "unrelated", "inferred", "explanation")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    COLLABORATIVE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    UNRELATED_FIELD_NUMBER: _ClassVar[int]
    INFERRED_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    collaborative: float
    content: float
    unrelated: bool
    inferred: bool
    explanation: Explanation
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., collaborative: _Optional[float] = ..., content: _Optional[float] = ..., unrelated: bool = ..., inferred: bool = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("items", "genres")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    GENRES_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Contribution]
    genres: _containers.RepeatedCompositeFieldContainer[Contribution]
    def __init__(self, items: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., genres: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("name", "contribution")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    contribution: float
    def __init__(self, name: _Optional[str] = ..., contribution: _Optional[float] = ...) -> None: ...

class Shortfall(_message.Message):
    __slots__ = ("requested", "returned", "reason", "message")
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    requested: int
    returned: int
    reason: ShortfallReason
    message: str
    def __init__(self, requested: _Optional[int] = ..., returned: _Optional[int] = ..., reason: _Optional[_Union[ShortfallReason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class BatchFindNeighborsRequest(_message.Message):
    __slots__ = ("queries",)
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[FindNeighborsRequest]
    def __init__(self, queries: _Optional[_Iterable[_Union[FindNeighborsRequest, _Mapping]]] = ...) -> None: ...

class BatchFindNeighborsResponse(_message.Message):
    __slots__ = ("outcomes", "bundle_version")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[QueryOutcome]
    bundle_version: str
    def __init__(self, outcomes: _Optional[_Iterable[_Union[QueryOutcome, _Mapping]]] = ..., bundle_version: _Optional[str] = ...) -> None: ...

class QueryOutcome(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: FindNeighborsResponse
    error: QueryError
    def __init__(self, response: _Optional[_Union[FindNeighborsResponse, _Mapping]] = ..., error: _Optional[_Union[QueryError, _Mapping]] = ...) -> None: ...

class QueryError(_message.Message):
    __slots__ = ("code", "message", "field")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    field: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., field: _Optional[str] = ...) -> None: ...

class StreamFindNeighborsRequest(_message.Message):
    __slots__ = ("request_id", "query")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    query: FindNeighborsRequest
    def __init__(self, request_id: _Optional[str] = ..., query: _Optional[_Union[FindNeighborsRequest, _Mapping]] = ...) -> None: ...

class StreamFindNeighborsResponse(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: FindNeighborsResponse
    error: QueryError
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[FindNeighborsResponse, _Mapping]] = ..., error: _Optional[_Union[QueryError, _Mapping]] = ...) -> None: ...

class PredictRatingsRequest(_message.Message):
    __slots__ = ("user_id", "profile", "item_ids", "method")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    profile: Profile
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    method: PredictionMethod
    def __init__(self, user_id: _Optional[str] = ..., profile: _Optional[_Union[Profile, _Mapping]] = ..., item_ids: _Optional[_Iterable[str]] = ..., method: _Optional[_Union[PredictionMethod, str]] = ...) -> None: ...

class PredictRatingsResponse(_message.Message):
    __slots__ = ("predictions", "bundle_version")
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    predictions: _containers.RepeatedCompositeFieldContainer[RatingPrediction]
    bundle_version: str
    def __init__(self, predictions: _Optional[_Iterable[_Union[RatingPrediction, _Mapping]]] = ..., bundle_version: _Optional[str] = ...) -> None: ...

class RatingPrediction(_message.Message):
    __slots__ = ("item_id", "stars", "neighbor_count")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    STARS_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    stars: float
    neighbor_count: int
    def __init__(self, item_id: _Optional[str] = ..., stars: _Optional[float] = ..., neighbor_count: _Optional[int] = ...) -> None: ...

class SearchTitlesRequest(_message.Message):
    __slots__ = ("text", "match_count")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    text: str
    match_count: int
    def __init__(self, text: _Optional[str] = ..., match_count: _Optional[int] = ...) -> None: ...

class SearchTitlesResponse(_message.Message):
    __slots__ = ("matches", "bundle_version")
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[TitleMatch]
    bundle_version: str
    def __init__(self, matches: _Optional[_Iterable[_Union[TitleMatch, _Mapping]]] = ..., bundle_version: _Optional[str] = ...) -> None: ...

class TitleMatch(_message.Message):
    __slots__ = ("item", "score")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    item: Item
    score: float
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ..., score: _Optional[float] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "title", "year", "genres", "rating_count", "mean_rating")
    ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    YEAR_FIELD_NUMBER: _ClassVar[int]
    GENRES_FIELD_NUMBER: _ClassVar[int]
    RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_RATING_FIELD_NUMBER: _ClassVar[int]
    id: str
    title: str
    year: int
    genres: _containers.RepeatedScalarFieldContainer[str]
    rating_count: int
    mean_rating: float
    def __init__(self, id: _Optional[str] = ..., title: _Optional[str] = ..., year: _Optional[int] = ..., genres: _Optional[_Iterable[str]] = ..., rating_count: _Optional[int] = ..., mean_rating: _Optional[float] = ...) -> None: ...

class GetItemsRequest(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetItemsResponse(_message.Message):
    __slots__ = ("items", "unknown_ids", "bundle_version")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_IDS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    unknown_ids: _containers.RepeatedScalarFieldContainer[str]
    bundle_version: str
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., unknown_ids: _Optional[_Iterable[str]] = ..., bundle_version: _Optional[str] = ...) -> None: ...

class GetBundleRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBundleResponse(_message.Message):
    __slots__ = ("bundle_version", "format_version", "created_at", "user_count", "item_count", "rating_count", "genres", "rating_scale", "default_content_weight", "default_recall", "recall", "quality", "source", "simulated", "settings", "live_since", "refused")
    class QualityEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    RATING_COUNT_FIELD_NUMBER: _ClassVar[int]
    GENRES_FIELD_NUMBER: _ClassVar[int]
    RATING_SCALE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_CONTENT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_RECALL_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SIMULATED_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    LIVE_SINCE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    bundle_version: str
    format_version: int
    created_at: _timestamp_pb2.Timestamp
    user_count: int
    item_count: int
    rating_count: int
    genres: _containers.RepeatedScalarFieldContainer[str]
    rating_scale: RatingScale
    default_content_weight: float
    default_recall: float
    recall: _containers.RepeatedCompositeFieldContainer[MeasuredRecall]
    quality: _containers.ScalarMap[str, float]
    source: str
    simulated: bool
    settings: _containers.ScalarMap[str, str]
    live_since: _timestamp_pb2.Timestamp
    refused: _containers.RepeatedCompositeFieldContainer[RefusedBundle]
    def __init__(self, bundle_version: _Optional[str] = ..., format_version: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user_count: _Optional[int] = ..., item_count: _Optional[int] = ..., rating_count: _Optional[int] = ..., genres: _Optional[_Iterable[str]] = ..., rating_scale: _Optional[_Union[RatingScale, _Mapping]] = ..., default_content_weight: _Optional[float] = ..., default_recall: _Optional[float] = ..., recall: _Optional[_Iterable[_Union[MeasuredRecall, _Mapping]]] = ..., quality: _Optional[_Mapping[str, float]] = ..., source: _Optional[str] = ..., simulated: bool = ..., settings: _Optional[_Mapping[str, str]] = ..., live_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., refused: _Optional[_Iterable[_Union[RefusedBundle, _Mapping]]] = ...) -> None: ...

class RefusedBundle(_message.Message):
    __slots__ = ("bundle_version", "refused_at", "reason")
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    REFUSED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    bundle_version: str
    refused_at: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, bundle_version: _Optional[str] = ..., refused_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class RatingScale(_message.Message):
    __slots__ = ("min", "max")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    min: float
    max: float
    def __init__(self, min: _Optional[float] = ..., max: _Optional[float] = ...) -> None: ...

class MeasuredRecall(_message.Message):
    __slots__ = ("space", "index", "effort", "content_weight", "recall_at_10", "recall_at_100", "cpu_us", "well_known_recall_at_10", "others_recall_at_10")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    RECALL_AT_10_FIELD_NUMBER: _ClassVar[int]
    RECALL_AT_100_FIELD_NUMBER: _ClassVar[int]
    CPU_US_FIELD_NUMBER: _ClassVar[int]
    WELL_KNOWN_RECALL_AT_10_FIELD_NUMBER: _ClassVar[int]
    OTHERS_RECALL_AT_10_FIELD_NUMBER: _ClassVar[int]
    space: str
    index: str
    effort: int
    content_weight: float
    recall_at_10: float
    recall_at_100: float
    cpu_us: float
    well_known_recall_at_10: float
    others_recall_at_10: float
    def __init__(self, space: _Optional[str] = ..., index: _Optional[str] = ..., effort: _Optional[int] = ..., content_weight: _Optional[float] = ..., recall_at_10: _Optional[float] = ..., recall_at_100: _Optional[float] = ..., cpu_us: _Optional[float] = ..., well_known_recall_at_10: _Optional[float] = ..., others_recall_at_10: _Optional[float] = ...) -> None: ...
