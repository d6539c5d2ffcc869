package loadtest.search;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The command line that every launcher understands.
 *
 * @param data          the node's home; kept when the server ends
 * @param scratch       temporary files of this process; removed when the server ends
 * @param port          HTTP port, 0 for a free one
 * @param dieWithParent end when stdin is closed
 * @param exitWhenReady end right after READY (start.sh never says so; build.sh does, to record a class archive)
 * @param settings      node settings of the caller; they win over {@link BaseSettings}
 */
record Arguments(
    Path data, Path scratch, int port, boolean dieWithParent, boolean exitWhenReady, Map<String, String> settings) {

  static Arguments parse(String[] args) {
    Path data = null;
    Path scratch = null;
    int port = 0;
    boolean dieWithParent = false;
    boolean exitWhenReady = false;
    var settings = new LinkedHashMap<String, String>();
    int i = 0;
    for (; i < args.length && !args[i].equals("--"); i++) {
      switch (args[i]) {
        case "--data" -> data = Path.of(valueOf(args, i++)).toAbsolutePath();
        case "--scratch" -> scratch = Path.of(valueOf(args, i++)).toAbsolutePath();
        case "--port" -> port = Integer.parseInt(valueOf(args, i++));
        case "--die-with-parent" -> dieWithParent = true;
        case "--exit-when-ready" -> exitWhenReady = true;
        default -> throw new IllegalArgumentException("unknown argument " + args[i]);
      }
    }
    for (i++; i < args.length; i++) {
      var pair = args[i].split("=", 2);
      if (pair.length != 2) {
        throw new IllegalArgumentException("a setting is key=value, not " + args[i]);
      }
      settings.put(pair[0], pair[1]);
    }
    if (scratch == null) {
      throw new IllegalArgumentException("--scratch DIR is missing (start.sh makes one)");
    }
    return new Arguments(
        data == null ? scratch.resolve("data") : data, scratch, port, dieWithParent, exitWhenReady, settings);
  }

  private static String valueOf(String[] args, int flag) {
    if (flag + 1 >= args.length) {
      throw new IllegalArgumentException(args[flag] + " needs a value");
    }
    return args[flag + 1];
  }
}
