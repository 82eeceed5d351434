// nginx as one process and one thread, which answers "Hello world.\n" to /hello: what servers of HTTP and HTTPS are
// compared with.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "servers.hpp"

namespace bench {

inline bool has_nginx() { return std::system("command -v nginx >/dev/null 2>&1") == 0; }

// `listen`: further parameters of that directive, such as "ssl"; `settings`: further directives of the server; `hello`:
// of its location /hello; `more`: what stands beside the server. A folder with its configuration is made, and left to
// the system to be removed.
[[noreturn]] inline void run_nginx(const char* listen, const std::string& settings,
                                   const std::string& hello = "return 200 \"Hello world.\\n\";",
                                   const std::string& more = "") {
  char folder[] = "/tmp/bench_nginx_XXXXXX";
  check(::mkdtemp(folder) != nullptr, "mkdtemp");
  int port = 0;
  ::close(listening_socket(port));  // one that is free now
  const std::string path = std::string(folder) + "/nginx.conf";
  std::FILE* const file = std::fopen(path.c_str(), "w");
  check(file != nullptr, path.c_str());
  std::fprintf(
      file,
      "daemon off; master_process off; worker_processes 1; pid %s/pid; error_log %s/error.log crit;\n"
      "events { worker_connections 20480; }\n"
      "http { access_log off; keepalive_requests 100000000; keepalive_timeout 600s; default_type text/plain;\n"
      "client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;\n"
      "%s server { listen 127.0.0.1:%d %s backlog=4096; tcp_nodelay on; %s\n"
      "location /hello { %s } } }\n",
      folder, folder, folder, folder, folder, folder, folder, more.c_str(), port, listen, settings.c_str(),
      hello.c_str());
  std::fclose(file);
  const int silent = ::open("/dev/null", O_WRONLY);
  ::dup2(silent, 2);
  shared->port = port;
  ::execlp("nginx", "nginx", "-c", path.c_str(), "-p", folder, static_cast<char*>(nullptr));
  ::_exit(127);
}
[[noreturn]] inline void serve_nginx() { run_nginx("", ""); }
// As a proxy in front of another server, to which connections are kept.
[[noreturn]] inline void proxy_nginx(int upstream) {
  run_nginx("", "",
            "proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\"; "
            "proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            "upstream behind { server 127.0.0.1:" + std::to_string(upstream) +
                "; keepalive 512; keepalive_requests 100000000; keepalive_timeout 600s; }");
}

}  // namespace bench
