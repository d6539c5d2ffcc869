package loadtest.search;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.elasticsearch.common.settings.SecureString;
import org.elasticsearch.transport.netty4.Netty4Plugin;
import org.elasticsearch.xpack.core.XPackPlugin;
import org.elasticsearch.xpack.core.security.authc.support.Hasher;
import org.elasticsearch.xpack.security.WithoutSaml;

/**
 * {@link ElasticsearchServer} behind TLS, with one superuser in the file realm and API keys. System property
 * {@code loadtest.tls}: the directory with http.crt and http.key (see tls.sh).
 */
public final class SecureElasticsearchServer {
  private static final String USER = "admin";
  private static final String PASSWORD = "loadtest-secret"; // for servers on loopback that live for one test

  private SecureElasticsearchServer() {}

  public static void main(String[] argv) {
    ElasticsearchServer.launch(
        argv,
        "https",
        SecureElasticsearchServer::prepare,
        List.of(
            Netty4Plugin.class,
            MissingModules.class,
            SecurityIndexAnalysis.class,
            XPackPlugin.class,
            WithoutSaml.class));
  }

  private static Map<String, String> prepare(Arguments args) throws IOException {
    var config = args.data().resolve("config");
    var tls = Path.of(System.getProperty("loadtest.tls"));
    var hash = new String(Hasher.BCRYPT4.hash(new SecureString(PASSWORD.toCharArray())));
    Files.writeString(config.resolve("users"), USER + ":" + hash + "\n");
    Files.writeString(config.resolve("users_roles"), "superuser:" + USER + "\n");
    return Map.of(
        "xpack.security.enabled", "true",
        "xpack.security.autoconfiguration.enabled", "false",
        "xpack.security.http.ssl.enabled", "true",
        "xpack.security.http.ssl.certificate", tls.resolve("http.crt").toString(),
        "xpack.security.http.ssl.key", tls.resolve("http.key").toString(),
        "xpack.security.authc.api_key.enabled", "true");
  }
}
