#!/usr/bin/env bash
# tls.sh DIR: a CA (ca.crt) and what it signed: a server certificate (http.crt, http.key) for localhost and
# 127.0.0.1, and one to show to servers that ask for it (client.crt, client.key). Does nothing while they are
# good for another day.
#
# A CA beside the server certificate, because rustls refuses a self-signed one that is its own CA (CaUsedAsEndEntity).
set -euo pipefail

dir=${1:?usage: tls.sh DIR}
good() { openssl x509 -checkend 86400 -noout -in "$dir/$1.crt" >/dev/null 2>&1; }
good http && good client && exit 0

mkdir -p "$dir"
cd "$dir"
trap 'rm -f request.csr request.ext ca.srl' EXIT

sign() { # NAME SUBJECT EXTENSION...
    local name=$1 subject=$2
    shift 2
    openssl req -newkey rsa:2048 -nodes -subj "$subject" -keyout "$name.key" -out request.csr
    printf '%s\n' basicConstraints=CA:FALSE "$@" >request.ext
    openssl x509 -req -days 365 -in request.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile request.ext \
        -out "$name.crt"
}

{
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=loadtest tests CA" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout ca.key -out ca.crt
    sign http /CN=localhost subjectAltName=DNS:localhost,IP:127.0.0.1 extendedKeyUsage=serverAuth
    sign client /CN=exporter extendedKeyUsage=clientAuth
} 2>openssl.log || {
    cat openssl.log >&2
    exit 1
}
rm -f openssl.log
