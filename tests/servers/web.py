"""Python's own server, once as HTTP/1.0 and once as HTTP/1.1."""

import http.server
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    disable_nagle_algorithm = True

    def do_GET(self):
        name, *rest = self.path[1:].split("/")
        if name == "length":
            self.answer(200, bytes(i * 31 + (i >> 8) & 0xFF for i in range(int(rest[0]))))
        elif name == "keep":  # HTTP/1.0 keeps a connection only if both say so
            self.close_connection = False
            self.answer(200, b"kept", ("Connection", "keep-alive"))
        elif name == "until-close":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"until the end")
            self.close_connection = True
        elif name == "chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for size in (1, 20, 300):
                self.wfile.write(b"%X ; of=python\r\n%s\r\n" % (size, b"x" * size))
            self.wfile.write(b"0\r\nX-Trailer: yes\r\n\r\n")
        elif name == "no-content":
            self.send_response(204)
            self.end_headers()
        elif name == "not-modified":
            self.send_response(304)
            self.send_header("Content-Length", "1000")
            self.end_headers()
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def answer(self, status, body, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Handler11(Handler):
    protocol_version = "HTTP/1.1"


for handler in (Handler, Handler11):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(f"PORT {server.server_address[1]}", flush=True)
    threading.Thread(target=server.serve_forever).start()
