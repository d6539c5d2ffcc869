#!/usr/bin/env bash
# check.sh: the manifests of examples/gitops for Argo Rollouts and Flagger, read strictly into the types of those
# controllers. Builds target/gitops/gitops from Go modules the first time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -o ../../target/gitops/gitops .
exec ../../target/gitops/gitops ../../examples/gitops/{argo-rollouts,flagger,pipeline-rights}.yaml
