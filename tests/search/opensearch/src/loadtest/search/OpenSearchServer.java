package loadtest.search;

import java.nio.file.Files;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.opensearch.common.settings.Settings;
import org.opensearch.common.unit.TimeValue;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.index.mapper.MapperExtrasModulePlugin;
import org.opensearch.index.reindex.ReindexModulePlugin;
import org.opensearch.ingest.common.IngestCommonModulePlugin;
import org.opensearch.painless.PainlessModulePlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.script.mustache.MustacheModulePlugin;
import org.opensearch.transport.Netty4ModulePlugin;

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

  public static void main(String[] argv) throws Exception {
    var args = Arguments.parse(argv);
    var lifetime = Lifetime.begin(args);
    try {
      run(args, lifetime);
    } catch (Exception e) {
      e.printStackTrace();
      System.exit(1); // the node's threads would keep the process alive
    }
  }

  private static void run(Arguments args, Lifetime lifetime) throws Exception {
    Files.createDirectories(args.data().resolve("config"));
    var settings = Settings.builder();
    BaseSettings.of(args).forEach(settings::put);
    var node = new ClassPathNode(settings.build(), MODULES);
    lifetime.closeAtEnd(
        () -> {
          node.close();
          node.awaitClose(20, TimeUnit.SECONDS);
        });
    node.start();
    var health =
        node.client()
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
    lifetime.ready("http", http.getAddress(), http.getPort());
  }
}
