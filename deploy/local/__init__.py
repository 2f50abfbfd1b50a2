"""A whole pipeline on one machine: an embedded Kafka and a runner that supervises the stages."""
