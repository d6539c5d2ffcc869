package loadtest.search;

import java.nio.file.Path;
import java.util.List;
import org.opensearch.Version;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;
import org.opensearch.plugins.PluginInfo;

/** A node whose modules are classes on the class path instead of directories of an installation. */
final class ClassPathNode extends Node {
  ClassPathNode(Settings settings, List<Class<? extends Plugin>> modules) {
    super(
        new Environment(settings, Path.of(settings.get("path.home"), "config")),
        modules.stream().map(ClassPathNode::info).toList(),
        true);
  }

  private static PluginInfo info(Class<? extends Plugin> module) {
    return new PluginInfo(
        module.getName(), "class path", "NA", Version.CURRENT, "21", module.getName(), null, List.of(), false);
  }
}
