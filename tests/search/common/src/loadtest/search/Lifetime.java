package loadtest.search;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;

/**
 * How a launcher's process begins and ends.
 *
 * <p>Law: whatever ends the process (SIGTERM, the parent's death, a failed start), the node is closed and
 * the scratch directory removed. Only SIGKILL of the process itself leaves the directory; the next start.sh
 * removes it then.
 */
final class Lifetime {
  /** A close takes 1 to 2 s; a node that hangs must not keep its test waiting for ever. */
  private static final long CLOSE_DEADLINE_MS = 20_000;

  interface Closing {
    void close() throws Exception;
  }

  private final Arguments args;
  private volatile Closing node = () -> {};

  private Lifetime(Arguments args) {
    this.args = args;
  }

  /** To be called first: from here on nothing is left behind. */
  static Lifetime begin(Arguments args) {
    var lifetime = new Lifetime(args);
    Runtime.getRuntime().addShutdownHook(new Thread(lifetime::end, "end"));
    if (args.dieWithParent()) {
      var watch = new Thread(Lifetime::exitAtEndOfInput, "parent-watch");
      watch.setDaemon(true);
      watch.start();
    }
    return lifetime;
  }

  void closeAtEnd(Closing closing) {
    node = closing;
  }

  /** Says READY, then sleeps until the process is told to end. */
  void ready(String scheme, String host, int port) throws InterruptedException {
    System.out.println("READY " + scheme + "://" + host + ":" + port);
    System.out.flush();
    System.err.println("ready after " + ManagementFactory.getRuntimeMXBean().getUptime() + " ms");
    if (args.exitWhenReady()) {
      System.exit(0);
    }
    Thread.currentThread().join();
  }

  /**
   * The parent holds the other end of stdin, so the kernel reports its death as end of input. (A death
   * signal would be wrong here: Linux sends it when the parent's <em>thread</em> ends, and a Rust test is
   * a thread.)
   */
  private static void exitAtEndOfInput() {
    try {
      while (System.in.read() >= 0) {}
    } catch (IOException e) {
      // an unreadable stdin has no parent behind it either
    }
    System.exit(0);
  }

  private void end() {
    var closer = new Thread(this::closeNode, "close-node");
    closer.setDaemon(true);
    closer.start();
    try {
      closer.join(CLOSE_DEADLINE_MS);
    } catch (InterruptedException e) {
      // ending anyway
    }
    removeTree(args.scratch());
  }

  private void closeNode() {
    try {
      node.close();
    } catch (Exception e) {
      e.printStackTrace();
    }
  }

  private static void removeTree(Path root) {
    try (var paths = Files.walk(root)) {
      for (var path : paths.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(path);
      }
    } catch (IOException e) {
      System.err.println("left behind: " + root + ": " + e);
    }
  }
}
