"""The dashboard *Pipeline*: how fast it goes, how far behind it is, when it will be done, and what is wrong."""

from __future__ import annotations

from grafana.panels import Board, Choice
from grafana.pipeline.condition import REPLICAS, TIME, TROUBLE
from grafana.pipeline.progress import FLOW, LAG, NOW

BOARD = Board(
    "cirrostream-pipeline",
    "Cirrostream / Pipeline",
    "From the dump to the table: how fast, how far behind, when it will be done, and what is wrong.",
    (NOW, FLOW, LAG, REPLICAS, TROUBLE, TIME),
    (
        Choice("group", "Group", "label_values(cirrostream_lag_records, group)"),
        Choice("stage", "Stage", 'label_values(cirrostream_loop_idle_seconds{stage!="lag"}, stage)'),
        Choice("replica", "Replica", 'label_values(cirrostream_loop_idle_seconds{stage=~"$stage"}, instance)'),
    ),
)
