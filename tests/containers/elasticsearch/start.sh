#!/bin/bash
# Settings come as the vendor's image takes them: environment variables with a dot in their names, which a shell
# cannot name.
cd /usr/share/elasticsearch || exit
settings=(network.host=0.0.0.0)
while IFS= read -r -d '' pair; do
  case ${pair%%=*} in
  xpack.*) ;; # no such module here
  *.*) settings+=("$pair") ;;
  esac
done < /proc/$$/environ
# shellcheck disable=SC2086 # options are words
exec jdk/bin/java $ES_JAVA_OPTS -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
  -Des.nativelibs.path="$PWD/native" -Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false \
  -Dlog4j.shutdownHookEnabled=false -Dlog4j2.disable.jmx=true \
  -cp "launcher.jar:lib/*" loadtest.search.ElasticsearchServer \
  --scratch /tmp/scratch --data "$PWD/data" --port 9200 -- "${settings[@]}"
