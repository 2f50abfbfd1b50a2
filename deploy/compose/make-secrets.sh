#!/usr/bin/env bash
# What compose.tls.yaml needs, into the folder secrets: ./make-secrets.sh HOST [PORT]
#
# HOST is the name or the IP address by which GPU hosts reach this machine. Again: the server's certificate is renewed,
# the certificate authority and the password stay. For a new password delete secrets/password first.
#
#   ca.key      the certificate authority's key: needed by nobody but this script, keep it here
#   ca.crt      its certificate: goes to the GPU hosts
#   kafka.pem   Kafka's key and certificate
#   password    of the user `worker`
#   worker.env  environment of the GPU hosts, with the password in it
set -euo pipefail
umask 077

host=${1:-}
port=${2:-9094}
if [[ ! $host =~ ^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$ || ! $port =~ ^[0-9]{1,5}$ ]]; then
    echo "usage: $0 HOST [PORT], such as $0 kafka.example.org; HOST is how GPU hosts reach this machine" >&2
    exit 2
fi
command -v openssl >/dev/null || { echo "error: openssl is missing: install the package openssl" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p secrets
chmod 700 secrets
cd secrets

if [[ ! -s ca.key || ! -s ca.crt ]]; then
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key
    openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj "/CN=Cirrostream Kafka CA" -out ca.crt \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign"
fi
[[ -s password ]] || openssl rand -hex 32 >password

kind=DNS
[[ $host == *:* || $host =~ ^[0-9]+(\.[0-9]+){3}$ ]] && kind=IP
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/extensions" <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = $kind:$host
END
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/key"
openssl req -new -key "$work/key" -subj "/CN=Cirrostream Kafka" -out "$work/request"
openssl x509 -req -in "$work/request" -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -sha256 \
    -days 730 -extfile "$work/extensions" -out "$work/certificate" 2>/dev/null
cat "$work/key" "$work/certificate" ca.crt >kafka.pem

[[ $host == *:* ]] && host="[$host]"
cat >worker.env <<END
KAFKA_BOOTSTRAP_SERVERS=$host:$port
KAFKA_SECURITY_PROTOCOL=SASL_SSL
KAFKA_SASL_MECHANISM=SCRAM-SHA-512
KAFKA_SASL_USERNAME=worker
KAFKA_SASL_PASSWORD=$(<password)
KAFKA_SSL_CAFILE=/etc/cirrostream/ca.crt
END
# A secret of Compose is the file itself, with its mode, and the users in the containers are others than you: the folder
# is what keeps these two from the other users of this machine.
chmod 644 ca.crt kafka.pem password

echo "secrets/ has Kafka's certificate for $host until $(openssl x509 -in kafka.pem -noout -enddate | cut -d= -f2)."
echo "Set in .env: KAFKA_REMOTE_HOST=$host and KAFKA_REMOTE_PORT=$port. GPU hosts get ca.crt and worker.env."
