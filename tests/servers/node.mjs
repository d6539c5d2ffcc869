// What Node's server can answer, one path for each way of ending a body.
import http from "node:http";
import zlib from "node:zlib";

const body = (size) => Buffer.from(Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 0xff));

const paths = {
  // /length/SIZE
  length(response, size) {
    response.setHeader("Content-Length", size);
    response.end(body(Number(size)));
  },
  // /chunks/COUNT/SIZE: each written in a turn of its own, so that they arrive apart.
  chunks(response, count, size) {
    const write = (left) => {
      if (left === 0) return response.end();
      response.write(body(Number(size)));
      setImmediate(write, left - 1);
    };
    write(Number(count));
  },
  trailers(response) {
    response.setHeader("Trailer", "X-Sum, X-Count");
    response.write("with trailers");
    response.addTrailers({ "X-Sum": "1", "X-Count": "2" });
    response.end();
  },
  hints(response) {
    response.writeProcessing();
    response.writeEarlyHints({ link: ["</a.css>; rel=preload", "</b.css>; rel=preload"] });
    response.end("after hints");
  },
  // /status/CODE
  status(response, code) {
    response.statusCode = Number(code);
    response.end(code === "204" || code === "304" ? undefined : `status ${code}`);
  },
  // Neither length nor chunks: the end of the connection ends it.
  close(response) {
    response.useChunkedEncodingByDefault = false;
    response.sendDate = false;
    response.removeHeader("Transfer-Encoding");
    response.writeHead(200, { Connection: "close" });
    response.write("until the ");
    setImmediate(() => response.end("connection closes"));
  },
  last(response) {
    response.setHeader("Connection", "close");
    response.end("the last of this connection");
  },
  // Less than was promised.
  broken(response) {
    response.setHeader("Content-Length", 10);
    response.write("123", () => response.socket.end());
  },
  gzip(response) {
    response.setHeader("Content-Encoding", "gzip");
    response.end(zlib.gzipSync("packed ".repeat(100)));
  },
  cookies(response) {
    response.setHeader("Set-Cookie", ["a=1; Path=/", "b=2; HttpOnly"]);
    response.writeHead(302, { Location: "/length/3" });
    response.end();
  },
  // /headers/COUNT: a head of many lines.
  headers(response, count) {
    for (let i = 0; i < Number(count); i++) response.setHeader(`X-Header-${i}`, "value ".repeat(5));
    response.end("many headers");
  },
  echo(response, ...rest) {
    const request = rest.at(-1);
    request.pipe(response);
  },
};

const server = http.createServer((request, response) => {
  const [name, ...rest] = request.url.slice(1).split("/");
  paths[name](response, ...rest, request);
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log(`PORT ${server.address().port}`));
process.on("SIGTERM", () => process.exit(0));
