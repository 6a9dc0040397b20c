"""Two hours before its scheduled departure: will a flight out of New York not be on time?

Not on time means 15 or more minutes late at arrival, cancelled or diverted (26.6 % of 2013). Tail numbers and what
hangs on them are left out: a missing one means cancelled, so they leak the label. `month` is left out: one year cannot
teach seasons.
"""

from datetime import timedelta

from include.contracts import FEATURES, TARGET
from include.models.spec import Candidate, ModelSpec, Range

SPEC = ModelSpec(
    name="flights_on_time",
    target=TARGET,
    horizon=timedelta(hours=2),
    label_maturity=timedelta(hours=12),  # the latest label of the year came after 11.9 h
    features=tuple(FEATURES),
    candidates=(
        Candidate(family="logistic", space={"C": Range(low=1e-3, high=10, log=True)}),
        Candidate(
            family="xgboost",
            space={
                "max_depth": Range(low=3, high=7, integer=True),
                "learning_rate": Range(low=0.03, high=0.2, log=True),
                "n_estimators": Range(low=80, high=300, integer=True),
                "min_child_weight": Range(low=5, high=100, log=True),
                "subsample": Range(low=0.6, high=1.0),
                "colsample_bytree": Range(low=0.4, high=1.0),
                "reg_lambda": Range(low=0.1, high=30, log=True),
            },
        ),
    ),
)
