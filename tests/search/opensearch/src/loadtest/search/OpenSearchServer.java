package loadtest.search;

import java.nio.file.Files;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.opensearch.common.settings.Settings;
import org.opensearch.common.unit.TimeValue;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.index.mapper.MapperExtrasModulePlugin;
import org.opensearch.index.reindex.ReindexModulePlugin;
import org.opensearch.ingest.common.IngestCommonModulePlugin;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessModulePlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.script.mustache.MustacheModulePlugin;
import org.opensearch.transport.Netty4ModulePlugin;
import org.opensearch.transport.client.Client;

/** A real OpenSearch node on 127.0.0.1, with the modules a stock distribution has and an exporter may meet. */
public final class OpenSearchServer {
  private static final List<Class<? extends Plugin>> MODULES =
      List.of(
          Netty4ModulePlugin.class, // HTTP; the only one without which nothing answers
          PainlessModulePlugin.class,
          MapperExtrasModulePlugin.class,
          ReindexModulePlugin.class,
          IngestCommonModulePlugin.class,
          MustacheModulePlugin.class);

  private OpenSearchServer() {}

  public static void main(String[] argv) {
    launch(argv, "http", args -> Map.of(), List.of(), node -> node.client());
  }

  /** What a flavour needs on disk before the node is made; answers with the settings it adds. */
  interface Preparation {
    Map<String, String> prepare(Arguments args) throws Exception;
  }

  /** Waits until a flavour's node takes requests; answers with a client that may ask for the cluster's health. */
  interface Opening {
    Client open(Node node) throws Exception;
  }

  static void launch(
      String[] argv, String scheme, Preparation flavour, List<Class<? extends Plugin>> plugins, Opening opening) {
    var args = Arguments.parse(argv);
    var lifetime = Lifetime.begin(args);
    try {
      Files.createDirectories(args.data().resolve("config"));
      var settings = Settings.builder();
      flavour.prepare(args).forEach(settings::put);
      BaseSettings.of(args).forEach(settings::put);
      var modules = Stream.concat(MODULES.stream(), plugins.stream()).toList();
      run(new ClassPathNode(settings.build(), modules), lifetime, scheme, opening);
    } catch (Exception e) {
      e.printStackTrace();
      System.exit(1); // the node's threads would keep the process alive
    }
  }

  private static void run(Node node, Lifetime lifetime, String scheme, Opening opening) throws Exception {
    lifetime.closeAtEnd(
        () -> {
          node.close();
          node.awaitClose(20, TimeUnit.SECONDS);
        });
    node.start();
    var health =
        opening
            .open(node)
            .admin()
            .cluster()
            .prepareHealth()
            .setWaitForYellowStatus()
            .setTimeout(TimeValue.timeValueSeconds(60))
            .get();
    if (health.isTimedOut()) {
      throw new IllegalStateException("the cluster is not yellow after 60 s: " + health);
    }
    var http = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress();
    lifetime.ready(scheme, http.getAddress(), http.getPort());
  }
}
