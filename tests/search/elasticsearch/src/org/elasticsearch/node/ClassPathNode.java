package org.elasticsearch.node; // NodeConstruction and NodeServiceProvider are package-private

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.elasticsearch.env.Environment;
import org.elasticsearch.plugins.ClassPathPlugins;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.plugins.PluginsService;

/** A node whose plugins are classes on the class path instead of directories of an installation. */
public final class ClassPathNode extends Node {
  public ClassPathNode(Environment environment, List<Class<? extends Plugin>> plugins) {
    super(
        NodeConstruction.prepareConstruction(
            environment,
            PluginsLoader.createPluginsLoader(Set.of(), Set.of(), Map.of(), false),
            new NodeServiceProvider() {
              @Override
              PluginsService newPluginService(Environment env, PluginsLoader loader) {
                return new ClassPathPlugins(env, loader, plugins);
              }
            },
            true));
  }
}
