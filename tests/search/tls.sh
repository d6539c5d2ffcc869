#!/usr/bin/env bash
# tls.sh DIR: a CA (ca.crt) and a server certificate it signed (http.crt, http.key) for localhost and
# 127.0.0.1. Does nothing while the certificate is good for another day.
#
# Two certificates, because rustls refuses a self-signed one that is its own CA (CaUsedAsEndEntity).
set -euo pipefail

dir=${1:?usage: tls.sh DIR}
openssl x509 -checkend 86400 -noout -in "$dir/http.crt" >/dev/null 2>&1 && exit 0

mkdir -p "$dir"
cd "$dir"
trap 'rm -f http.csr http.ext ca.srl' EXIT
{
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=loadtest tests CA" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout ca.key -out ca.crt
    openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout http.key -out http.csr
    cat >http.ext <<-'END'
		subjectAltName=DNS:localhost,IP:127.0.0.1
		basicConstraints=CA:FALSE
		extendedKeyUsage=serverAuth
	END
    openssl x509 -req -days 365 -in http.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile http.ext -out http.crt
} 2>openssl.log || {
    cat openssl.log >&2
    exit 1
}
rm -f openssl.log
