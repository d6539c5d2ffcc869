#!/bin/bash
# Makes the certificates and kubeconfigs of one cluster in $RUN/pki (about 1 s).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=conf.sh
. "$(dirname "$0")/conf.sh"
umask 077
mkdir -p "$RUN/pki"
cd "$RUN/pki"

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2> /dev/null; }

new_ca() {
  new_key "$1"
  openssl req -x509 -new -key "$1.key" -days 3650 -subj "/CN=$1" -out "$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,digitalSignature,keyCertSign,cRLSign
}

# new_cert NAME CA SUBJECT USAGE [ALTERNATIVE_NAMES]
new_cert() {
  new_key "$1"
  openssl req -new -key "$1.key" -subj "$3" -out "$1.csr"
  {
    echo "basicConstraints=critical,CA:FALSE"
    echo "keyUsage=critical,digitalSignature,keyEncipherment"
    echo "extendedKeyUsage=$4"
    [ -z "${5:-}" ] || echo "subjectAltName=$5"
  } > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -set_serial "0x$(openssl rand -hex 8)" \
    -days 3650 -extfile "$1.ext" -out "$1.crt" 2> /dev/null
  rm "$1.csr" "$1.ext"
}

# new_kubeconfig NAME HOST:PORT
new_kubeconfig() {
  cat > "$1.kubeconfig" << YAML
apiVersion: v1
kind: Config
current-context: cluster
clusters: [{name: cluster, cluster: {server: "https://$2", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: user, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: cluster, context: {cluster: cluster, user: user}}]
YAML
}

new_ca ca
new_ca etcd-ca
new_ca front-proxy-ca

api_names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
new_cert etcd etcd-ca /CN=etcd serverAuth,clientAuth IP:127.0.0.1,DNS:localhost
new_cert etcd-client etcd-ca /CN=apiserver clientAuth
new_cert apiserver ca /CN=kube-apiserver serverAuth "IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP,$api_names"
new_cert apiserver-kubelet-client ca /O=system:masters/CN=apiserver-kubelet-client clientAuth
new_cert front-proxy-client front-proxy-ca /CN=front-proxy-client clientAuth
# Signed by the cluster's CA, so `kubectl logs` and `exec` need no insecure flag.
new_cert kubelet-server ca "/O=system:nodes/CN=system:node:$NODE" serverAuth "IP:$NODE_IP,IP:127.0.0.1,DNS:$NODE"

# Clients. Their names are the identities that RBAC's built-in bindings know.
new_cert admin ca /O=system:masters/CN=admin clientAuth
new_cert controller-manager ca /CN=system:kube-controller-manager clientAuth
new_cert scheduler ca /CN=system:kube-scheduler clientAuth
new_cert kubelet ca "/O=system:nodes/CN=system:node:$NODE" clientAuth
new_cert kube-proxy ca /CN=system:kube-proxy clientAuth
for name in controller-manager scheduler kubelet kube-proxy; do new_kubeconfig "$name" 127.0.0.1:6443; done
new_kubeconfig admin @HOST_API@ # up.sh fills it in: the port is known once the listener is open

# Service account tokens
openssl genrsa -out sa.key 2048 2> /dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2> /dev/null
