package loadtest.search;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.Node;
import org.opensearch.security.OpenSearchSecurityPlugin;
import org.opensearch.security.auth.BackendRegistry;
import org.opensearch.security.hasher.PasswordHasherFactory;
import org.opensearch.security.support.ConfigConstants;
import org.opensearch.transport.client.Client;

/**
 * {@link OpenSearchServer} with its security plugin: TLS, one user who may do everything, and roles. System
 * properties: {@code loadtest.tls} is the directory with the certificates (see tls.sh), {@code loadtest.plugin} that
 * of the unpacked plugin.
 */
public final class SecureOpenSearchServer {
  private static final String USER = "admin";
  private static final String PASSWORD = "loadtest-secret"; // for servers on loopback that live for one test
  private static final String PREFIX = "plugins.security.";

  private SecureOpenSearchServer() {}

  public static void main(String[] argv) {
    OpenSearchServer.launch(
        argv,
        "https",
        SecureOpenSearchServer::prepare,
        List.of(OpenSearchSecurityPlugin.class),
        SecureOpenSearchServer::open);
  }

  /** The plugin refuses everybody until it has read its configuration from the index that it makes at the first start. */
  private static Client open(Node node) throws InterruptedException {
    var registry = node.injector().getInstance(BackendRegistry.class);
    var deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (!registry.isInitialized()) {
      if (System.nanoTime() > deadline) {
        throw new IllegalStateException("the security plugin is not ready after 60 s");
      }
      Thread.sleep(20);
    }
    // As the plugin asks itself: the node's own client has no user.
    return node.client().filterWithHeader(Map.of(ConfigConstants.OPENDISTRO_SECURITY_CONF_REQUEST_HEADER, "true"));
  }

  private static Map<String, String> prepare(Arguments args) throws IOException {
    var settings = settings(Path.of(System.getProperty("loadtest.tls")));
    var config = Files.createDirectories(args.data().resolve("config/opensearch-security"));
    try (var defaults = Files.list(Path.of(System.getProperty("loadtest.plugin"), "config"))) {
      for (var file : defaults.toList()) {
        Files.writeString(config.resolve(file.getFileName()), Files.readString(file));
      }
    }
    var hasher = PasswordHasherFactory.createPasswordHasher(Settings.builder().loadFromMap(settings).build());
    Files.writeString(
        config.resolve("internal_users.yml"),
        """
        _meta: {type: internalusers, config_version: 2}
        %s: {hash: "%s", backend_roles: [admin]}
        """
            .formatted(USER, hasher.hash(PASSWORD.toCharArray())));
    return settings;
  }

  private static Map<String, String> settings(Path tls) {
    var s = new LinkedHashMap<String, String>();
    s.put(PREFIX + "ssl.http.enabled", "true");
    for (var layer : new String[] {"http", "transport"}) {
      s.put(PREFIX + "ssl." + layer + ".pemcert_filepath", tls.resolve("http.crt").toString());
      s.put(PREFIX + "ssl." + layer + ".pemkey_filepath", tls.resolve("http.key").toString());
      s.put(PREFIX + "ssl." + layer + ".pemtrustedcas_filepath", tls.resolve("ca.crt").toString());
    }
    s.put(PREFIX + "ssl.transport.enforce_hostname_verification", "false");
    s.put(PREFIX + "allow_default_init_securityindex", "true");
    s.put(PREFIX + "audit.type", "noop");
    s.put(PREFIX + "restapi.roles_enabled", "all_access");
    // Each request proves a password; the usual cost is for passwords that are worth stealing.
    s.put(PREFIX + "password.hashing.bcrypt.rounds", "4");
    return s;
  }
}
