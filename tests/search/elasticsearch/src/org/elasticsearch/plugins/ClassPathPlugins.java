package org.elasticsearch.plugins; // LoadedPlugin's constructor is package-private

import java.lang.reflect.Constructor;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.ServiceLoader;
import org.elasticsearch.env.Environment;
import org.elasticsearch.plugins.PluginDescriptor.DeploymentTarget;

/** Plugins given as classes. All share one class loader, which is what the overrides below are about. */
public final class ClassPathPlugins extends PluginsService {
  private final List<LoadedPlugin> loaded = new ArrayList<>();

  public ClassPathPlugins(Environment env, PluginsLoader loader, List<Class<? extends Plugin>> plugins) {
    super(env.settings(), env.configDir(), loader);
    for (var plugin : plugins) {
      var instance = loadPlugin(plugin, env.settings(), env.configDir());
      loaded.add(new LoadedPlugin(describe(plugin), instance, plugin.getClassLoader()));
    }
    loadExtensions(loaded);
  }

  private static PluginDescriptor describe(Class<? extends Plugin> plugin) {
    return new PluginDescriptor(
        plugin.getName(), "class path", "NA", "NA", "21", plugin.getName(), null, List.of(),
        false, false, false, false, DeploymentTarget.ALL);
  }

  @Override
  protected List<LoadedPlugin> plugins() {
    return loaded == null ? List.of() : loaded; // the super constructor asks before the field exists
  }

  /**
   * Each provider once. The inherited method asks every plugin's class loader in turn; with a shared one it
   * would find each provider once per plugin, and nodes refuse that ("Duplicate key ml_config_version").
   */
  @Override
  public <T> List<? extends T> loadServiceProviders(Class<T> service) {
    var providers = new ArrayList<T>();
    for (var provider : ServiceLoader.load(service, getClass().getClassLoader()).stream().toList()) {
      var wantsPlugin = constructorWithPlugin(provider.type());
      if (wantsPlugin.isEmpty()) {
        providers.add(provider.get());
      } else {
        // A provider of a plugin that is on the class path but not loaded is left out.
        ownerFor(wantsPlugin.get()).ifPresent(p -> providers.add(service.cast(create(wantsPlugin.get(), p))));
      }
    }
    return providers;
  }

  /** A provider may ask for its plugin: constructor(ThePlugin). */
  private static Optional<Constructor<?>> constructorWithPlugin(Class<?> provider) {
    for (var c : provider.getConstructors()) {
      if (c.getParameterCount() == 1 && Plugin.class.isAssignableFrom(c.getParameterTypes()[0])) {
        return Optional.of(c);
      }
    }
    return Optional.empty();
  }

  private Optional<Plugin> ownerFor(Constructor<?> constructor) {
    return loaded.stream().map(LoadedPlugin::instance).filter(constructor.getParameterTypes()[0]::isInstance).findFirst();
  }

  private static Object create(Constructor<?> constructor, Plugin owner) {
    try {
      return constructor.newInstance(owner);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("cannot make " + constructor, e);
    }
  }
}
