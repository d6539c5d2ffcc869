#!/usr/bin/env bash
# render.sh TAG FOLDER: prints the plugin's entry for krew, with the checksums of the archives in FOLDER. What it prints
# can be installed as it is (kubectl krew install --manifest=FILE) and sent to krew's index.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
tag=$1 folder=$2
# {{addURIAndSha "https://…/archive.tar.gz" .TagName | indent 6 }}
pattern='^( *)\{\{ *addURIAndSha "([^"]+)".*'
while IFS= read -r line; do
  line=${line//'{{ .TagName }}'/$tag}
  if [[ $line =~ $pattern ]]; then
    uri=${BASH_REMATCH[2]}
    sum=$(sha256sum "$folder/${uri##*/}" | cut -d ' ' -f 1)
    printf '%suri: %s\n%ssha256: %s\n' "${BASH_REMATCH[1]}" "$uri" "${BASH_REMATCH[1]}" "$sum"
  else
    printf '%s\n' "$line"
  fi
done < "$(dirname "${BASH_SOURCE[0]}")/loadtest.yaml"
