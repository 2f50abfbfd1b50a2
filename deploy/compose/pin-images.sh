#!/usr/bin/env bash
# Writes the digests that the images' tags have now into .env, so that nobody can put another image behind a tag:
# ./pin-images.sh. Again, to take newer images. Needs Docker with buildx, and a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

declare -A images=(
    [KAFKA_IMAGE]=apache/kafka:4.3.1
    [PROMETHEUS_IMAGE]=prom/prometheus:v3.5.0
    [ALERTMANAGER_IMAGE]=prom/alertmanager:v0.28.1
    [GRAFANA_IMAGE]=grafana/grafana:12.3.1
    [PYTHON_TAG]=python:3.13-slim-trixie
)
touch .env
for name in "${!images[@]}"; do
    image=${images[$name]}
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "error: $image: no digest but $digest" >&2; exit 1; }
    sed -i.before "/^$name=/d" .env
    echo "$name=${image#python:}@$digest" >>.env
    echo "$image is $digest"
done
rm -f .env.before
