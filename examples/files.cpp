// Serves a directory over HTTP: types, ranges, conditional requests, large files in little memory.
//
//   files [--listen 127.0.0.1:8080] [--mount /] [--index index.html] [--cache-control VALUE] [--hidden] [DIRECTORY]
//
//   curl http://127.0.0.1:8080/README.md
//   curl -r 0-99 http://127.0.0.1:8080/README.md
//   kill -TERM PID        sends what has begun, and ends
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <string>

namespace {

namespace http = eventer::http;

struct settings {
  std::string address = "127.0.0.1:8080", mount = "/", directory = ".";
  http::file_options files;
};

int serve(const settings& with) {
  eventer::signal_set signals{SIGTERM, SIGINT};
  http::router routes;
  routes.files(with.mount, with.directory, with.files);
  const http::server server(std::move(routes));
  const auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen(with.address).value());
  std::printf("listening on %s\n", acceptor->local().to_string().c_str());
  std::fflush(stdout);
  auto serving = eventer::spawn([server, acceptor] { return server.serve(*acceptor); });
  (void)signals.next();
  const std::size_t left = server.drain(std::chrono::seconds(10));
  if (left > 0) std::fprintf(stderr, "files: %zu connections were cancelled\n", left);
  return serving.join() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  settings with;
  CLI::App app{"Serves a directory over HTTP."};
  app.add_option("-l,--listen", with.address, "where, such as 127.0.0.1:8080")->capture_default_str();
  app.add_option("-m,--mount", with.mount, "under which path, such as /static/")->capture_default_str();
  app.add_option("--index", with.files.index, "what is sent for a directory")->capture_default_str();
  app.add_option("--cache-control", with.files.cache_control, "what caches are told");
  app.add_flag("--hidden", with.files.hidden, "serve names that begin with a dot, too");
  app.add_option("directory", with.directory, "what is served")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return eventer::run([&] { return serve(with); });
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "files: %s\n", failure.what()), 1;
  }
}
