package loadtest.search;

import java.nio.file.Files;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.env.Environment;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.node.ClassPathNode;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.transport.netty4.Netty4Plugin;

/** A real Elasticsearch node on 127.0.0.1: the server jar and its HTTP, no security. */
public final class ElasticsearchServer {
  private ElasticsearchServer() {}

  public static void main(String[] argv) {
    launch(argv, "http", args -> Map.of(), List.of(Netty4Plugin.class, MissingModules.class));
  }

  /** What a flavour needs on disk before the node is made; answers with the settings it adds. */
  interface Preparation {
    Map<String, String> prepare(Arguments args) throws Exception;
  }

  static void launch(String[] argv, String scheme, Preparation flavour, List<Class<? extends Plugin>> plugins) {
    var args = Arguments.parse(argv);
    var lifetime = Lifetime.begin(args);
    try {
      run(args, lifetime, scheme, flavour, plugins);
    } catch (Exception e) {
      e.printStackTrace();
      System.exit(1); // the node's threads would keep the process alive
    }
  }

  private static void run(
      Arguments args, Lifetime lifetime, String scheme, Preparation flavour, List<Class<? extends Plugin>> plugins)
      throws Exception {
    LogConfigurator.configureESLogging();
    var config = Files.createDirectories(args.data().resolve("config"));
    var settings = Settings.builder();
    flavour.prepare(args).forEach(settings::put);
    BaseSettings.of(args).forEach(settings::put);
    var node = new ClassPathNode(new Environment(settings.build(), config), plugins);
    lifetime.closeAtEnd(
        () -> {
          node.close();
          node.awaitClose(20, TimeUnit.SECONDS);
        });
    node.start();
    var patience = TimeValue.timeValueSeconds(60);
    var health =
        node.client().admin().cluster().prepareHealth(patience).setWaitForYellowStatus().setTimeout(patience).get();
    if (health.isTimedOut()) {
      throw new IllegalStateException("the cluster is not yellow after 60 s: " + health);
    }
    var http = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress();
    lifetime.ready(scheme, http.getAddress(), http.getPort());
  }
}
