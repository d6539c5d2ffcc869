package org.elasticsearch.xpack.security; // the server accepts REST interceptors only from org.elasticsearch.xpack.*

import java.util.List;
import org.elasticsearch.common.settings.Settings;

/** x-pack-security minus its SAML actions: they need org.opensaml 4, which is not on Maven Central. */
public final class WithoutSaml extends Security {
  public WithoutSaml(Settings settings) {
    super(settings);
  }

  @Override
  public List<ActionHandler> getActions() {
    return super.getActions().stream().filter(a -> !a.getTransportAction().getName().contains(".saml.")).toList();
  }
}
