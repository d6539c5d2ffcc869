package loadtest.search;

import java.util.LinkedHashMap;
import java.util.Map;

/** Node settings that OpenSearch and Elasticsearch share: one small node on loopback. */
final class BaseSettings {
  private BaseSettings() {}

  /** The base, with the caller's settings laid over it. */
  static Map<String, String> of(Arguments args) {
    var s = new LinkedHashMap<String, String>();
    s.put("cluster.name", "loadtest-tests");
    s.put("node.name", "node-1");
    s.put("path.home", args.data().toString());
    s.put("path.data", args.data().resolve("data").toString());
    s.put("path.logs", args.data().resolve("logs").toString());
    s.put("network.host", "127.0.0.1");
    s.put("http.port", Integer.toString(args.port()));
    s.put("transport.port", "0");
    // Thread pools are sized by this: a test server must not take the machine.
    s.put("node.processors", "1");
    // A nearly full CI disk must not turn indices read-only.
    s.put("cluster.routing.allocation.disk.threshold_enabled", "false");
    // The default breaker counts garbage as used memory; with a small heap and the serial collector it
    // would answer 429 long before the heap is really full.
    s.put("indices.breaker.total.use_real_memory", "false");
    if (!args.settings().containsKey("discovery.seed_hosts")) {
      s.put("discovery.type", "single-node");
    }
    s.putAll(args.settings());
    return s;
  }
}
