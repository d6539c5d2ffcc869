package loadtest.search;

import java.util.Collection;
import java.util.List;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.RestHandler;

/**
 * Stand-ins for two REST modules that are not on Maven Central: rest-root ({@code GET /}) and data-streams
 * ({@code GET /_data_stream}). What these two answer proves nothing about Elasticsearch; the response
 * headers, bulk, data streams themselves, mappings and search are the real server's.
 */
public final class MissingModules extends Plugin implements ActionPlugin {
  @Override
  public Collection<RestHandler> getRestHandlers(
      RestHandlersServices services, Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> features) {
    return List.of(new RootHandler(), new DataStreamsHandler());
  }
}
