package loadtest.search;

import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.Tokenizer;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

/**
 * The three analysis parts that the index behind API keys is created with. Their module, analysis-common, is
 * not on Maven Central; without them every API key call is 400 "Unknown filter type [pattern_capture]".
 */
public final class SecurityIndexAnalysis extends Plugin implements AnalysisPlugin {
  @Override
  public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
    return Map.of(
        "uax_url_email",
        (index, env, name, settings) ->
            new TokenizerFactory() {
              @Override
              public String name() {
                return name;
              }

              @Override
              public Tokenizer create() {
                return new UAX29URLEmailTokenizer();
              }
            });
  }

  @Override
  public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
    return Map.of(
        // "unique" of the module drops more; nobody searches the analysed field here
        "unique", (index, env, name, settings) -> filter(name, RemoveDuplicatesTokenFilter::new),
        "pattern_capture",
            (index, env, name, settings) -> {
              var patterns = settings.getAsList("patterns").stream().map(Pattern::compile).toArray(Pattern[]::new);
              var keep = settings.getAsBoolean("preserve_original", true);
              return filter(name, tokens -> new PatternCaptureGroupTokenFilter(tokens, keep, patterns));
            });
  }

  private static TokenFilterFactory filter(String name, UnaryOperator<TokenStream> wrap) {
    return new TokenFilterFactory() {
      @Override
      public String name() {
        return name;
      }

      @Override
      public TokenStream create(TokenStream tokens) {
        return wrap.apply(tokens);
      }
    };
  }
}
