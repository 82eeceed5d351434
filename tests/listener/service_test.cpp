// run_service as a process: signals, what it tells a service manager, and the sockets that it inherits.
#include <sys/un.h>

#include <fstream>
#include <sstream>

#include "../background.hpp"
#include "../captured_log.hpp"
#include "../child.hpp"
#include "eventer/listener/run_service.hpp"
#include "servers.hpp"

namespace {

// "lines 127.0.0.1:0" in each line; "drain 100" is the limit in milliseconds.
eventer::service_config read_plain_config() {
  const char* const path = std::getenv("EVENTER_TEST_CONFIG");
  std::ifstream file(path);
  eventer::service_config result;
  result.loops = 2;
  result.drain_idle = 20ms;
  std::size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first, second;
    words >> first >> second;
    ++number;
    if (first == "drain") {
      result.drain_limit = std::chrono::milliseconds(std::stoi(second));
      continue;
    }
    result.listeners.push_back(at(second, first));
    result.listeners.back().source = "plain.conf:" + std::to_string(number);
  }
  return result;
}
void say_where(eventer::listeners& all) {
  for (const auto& each : all.statistics()) std::printf("where %s\n", each.local.c_str());
  for (const char* const name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
    if (std::getenv(name) != nullptr) std::printf("%s is still there\n", name);
  for (const auto& each : eventer::inherited_sockets::of_process().all())
    std::printf("inherited %s %d\n", each.name.c_str(), ::fcntl(each.fd, F_GETFD) & FD_CLOEXEC);
  std::fflush(stdout);
}

class service_process {
 public:
  explicit service_process(const std::string& config,
                           const std::vector<std::pair<std::string, std::string>>& environment = {},
                           const std::vector<std::string>& before = {}, int third = -1)
      : file_(folder.file("service.toml")), process_([&] {
          write(config);
          ::setenv("EVENTER_TEST_CONFIG", file_.c_str(), 1);
          for (const auto& [name, value] : environment)
            ::setenv(name.c_str(), value == "<pid>" ? std::to_string(::getpid()).c_str() : value.c_str(), 1);
          if (third >= 0 && third != 3) ::dup2(third, 3);
          if (third == 3) ::fcntl(3, F_SETFD, 0);
          char program[4096];
          const ssize_t length = ::readlink("/proc/self/exe", program, sizeof program - 1);
          program[length > 0 ? length : 0] = '\0';
          std::vector<std::string> words = before;
          words.insert(words.end(), {program, "child: a service"});
          std::vector<char*> arguments;
          for (std::string& each : words) arguments.push_back(each.data());
          arguments.push_back(nullptr);
          ::execv(arguments[0], arguments.data());
          std::perror(arguments[0]);
          ::_exit(127);
        }) {}

  void write(const std::string& config) const { std::ofstream(file_) << config; }
  // The rest of the next line that begins so; empty where none comes.
  std::string next(const std::string& begin) {
    for (std::string line = process_.line(); !line.empty(); line = process_.line()) {
      seen += line + "\n";
      if (line.starts_with(begin)) return line.substr(begin.size());
    }
    return {};
  }
  bool says(const std::string& part) {
    for (std::string line = process_.line(); !line.empty(); line = process_.line()) {
      seen += line + "\n";
      if (contains(line, part)) return true;
    }
    return false;
  }
  background& process() { return process_; }

  scratch_folder folder;
  std::string seen;

 private:
  std::string file_;
  background process_;
};

// As a service manager has it.
class notice_socket {
 public:
  explicit notice_socket(const std::string& name) : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    const auto where = eventer::endpoint::parse("unix:" + name).value();
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (::bind(fd_.get(), where.data(), where.size()) != 0) throw std::runtime_error("bind " + name);
  }
  std::string next() const {
    char text[1024];
    const ssize_t got = ::recv(fd_.get(), text, sizeof text, 0);
    return got < 0 ? "<nothing>" : std::string(text, static_cast<std::size_t>(got));
  }

 private:
  eventer::unique_fd fd_;
};

}  // namespace

// What the others run; hidden, but "~[tag]" runs hidden ones too.
TEST_CASE("child: a service", "[.child]") {
  if (std::getenv("EVENTER_TEST_CONFIG") == nullptr) return;  // not by itself
  eventer::set_log_level(eventer::log_level::info);
  eventer::listener_registry functions = line_registry();
  functions.add("pushes", [](eventer::any_stream peer) {
    while (peer.write_all("tick\n")) eventer::sleep_for(5ms);
  });
  const eventer::service_monitor monitor;
  functions.add("monitor", [monitor](eventer::any_stream peer) {
    std::string text = monitor.ready() ? "ready" : "draining";
    for (const auto& each : monitor.of_listeners())
      text += ", " + each.type + " " + std::to_string(each.open) + " of " + std::to_string(each.accepted);
    text += ", " + std::to_string(monitor.of_loops().size()) + " loops\n";
    (void)peer.write_all(text);
  });
  if (monitor.ready() || !monitor.of_listeners().empty()) std::exit(3);
  const int status = eventer::run_service(&read_plain_config, functions, {.started = &say_where, .monitor = monitor});
  std::exit(monitor.ready() || !monitor.of_listeners().empty() ? 3 : status);
}

TEST_CASE(
    "a service: SIGHUP reads its configuration again, errors leave it as it was, SIGTERM and SIGINT end it in peace",
    "[no-emulator]") {
  for (const int last : {SIGTERM, SIGINT}) {
    service_process service("lines 127.0.0.1:0\n");
    const std::string where = service.next("where ");
    REQUIRE(where.starts_with("127."));
    plain_client client(where);
    CHECK(client.ask("a") == "1 a");

    service.write("liens 127.0.0.1:0\nlines nowhere\n");
    service.process().signal(SIGHUP);
    CHECK(service.says("plain.conf:1: type: nothing is registered as \"liens\"; did you mean \"lines\"?"));
    CHECK(service.says("plain.conf:2: address: \"nowhere\""));
    CHECK(plain_client(where).ask("b") == "1 b");

    service.write("others 127.0.0.1:0\n");
    service.process().signal(SIGHUP);
    CHECK(service.says("has reloaded its configuration"));
    CHECK(plain_client(where).ask("c") == "2 c");
    CHECK(client.ask("d") == "1 d");

    REQUIRE(client.send("half a"));
    service.process().signal(last);
    CHECK(service.says("drains"));
    REQUIRE(client.send(" request\n"));
    CHECK(client.line() == "1 half a request");
    CHECK(client.line() == "<end>");
    const auto end = service.process().wait();
    CHECK(end.status == 0);
    CHECK(contains(end.output, "ends; 0 connections were cancelled"));
  }
}

TEST_CASE("a service cancels what has not ended at its drain limit, and still ends with 0", "[no-emulator]") {
  service_process service("pushes 127.0.0.1:0\ndrain 100\n");
  plain_client client(service.next("where "));
  CHECK(client.line() == "tick");
  service.process().signal(SIGTERM);
  const auto end = service.process().wait();
  CHECK(end.status == 0);
  CHECK(contains(end.output, "ends; 1 connections were cancelled"));
}

TEST_CASE("a second signal ends a service that drains at once, with 128 and its number", "[no-emulator]") {
  for (const auto& [second, status] : {std::pair(SIGTERM, 128 + SIGTERM), std::pair(SIGINT, 128 + SIGINT)}) {
    service_process service("pushes 127.0.0.1:0\ndrain 600000\n");
    plain_client client(service.next("where "));
    CHECK(client.line() == "tick");
    service.process().signal(SIGTERM);
    CHECK(service.says("drains"));
    service.process().signal(SIGHUP);  // no matter now
    service.process().signal(second);
    const auto end = service.process().wait();
    CHECK(end.status == status);
    CHECK(contains(end.output, "exits at once"));
  }
}

TEST_CASE("the functions of a service can ask about its listeners and its loops", "[no-emulator]") {
  service_process service("lines 127.0.0.1:0\nmonitor 127.0.0.1:0\n");
  plain_client lines(service.next("where "));
  CHECK(lines.ask("a") == "1 a");
  const std::string where = service.next("where ");
  CHECK(plain_client(where).line() == "ready, lines 1 of 1, monitor 1 of 1, 2 loops");
  CHECK(plain_client(where).line().starts_with("ready, lines 1 of 1, monitor "));
  service.process().signal(SIGTERM);
  CHECK(service.process().wait().status == 0);
}

TEST_CASE("a service that can't start ends with 1 and says all that is wrong", "[no-emulator]") {
  service_process service("liens 127.0.0.1:0\nlines nowhere\nlines fd:web\n");
  const auto end = service.process().wait();
  CHECK(end.status == 1);
  for (const char* const part :
       {"plain.conf:1: ", "plain.conf:2: ", "plain.conf:3: address: no socket named \"web\" was inherited"})
    CHECK(contains(end.output, part));
}

TEST_CASE("a service manager is told of READY, RELOADING, STOPPING and the watchdog", "[no-emulator]") {
  const scratch_folder folder;
  for (const std::string& name : {folder.file("a"), "@eventer-notice-" + std::to_string(::getpid())}) {
    CAPTURE(name);
    const notice_socket manager(name);
    service_process service("lines 127.0.0.1:0\n",
                            {{"NOTIFY_SOCKET", name}, {"WATCHDOG_USEC", "100000"}, {"WATCHDOG_PID", "<pid>"}});
    REQUIRE(service.next("where ").starts_with("127."));
    const auto next_but_watchdog = [&] {
      std::string text = manager.next();
      while (text == "WATCHDOG=1") text = manager.next();
      return text;
    };
    CHECK(manager.next() == "READY=1\nSTATUS=1 listeners on 2 loops");
    for (int i = 0; i < 3; ++i) CHECK(manager.next() == "WATCHDOG=1");
    service.write("lines 127.0.0.1:0\nothers 127.0.0.1:0\n");
    service.process().signal(SIGHUP);
    const std::string reloading = next_but_watchdog();
    CHECK(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="));
    CHECK(std::stoull(reloading.substr(reloading.rfind('=') + 1)) > 0);
    CHECK(next_but_watchdog() == "READY=1\nSTATUS=reloaded: 2 listeners");
    service.write("nonsense 127.0.0.1:0\n");
    service.process().signal(SIGHUP);
    CHECK(next_but_watchdog().starts_with("RELOADING=1\n"));
    CHECK(next_but_watchdog().starts_with("READY=1\nSTATUS=can't reload: plain.conf:1: type: nothing is registered"));
    service.process().signal(SIGTERM);
    CHECK(next_but_watchdog() == "STOPPING=1\nSTATUS=draining");
    CHECK(service.process().wait().status == 0);
  }
}

TEST_CASE("a watchdog that was meant for another process is not fed", "[no-emulator]") {
  const scratch_folder folder;
  const notice_socket manager(folder.file("a"));
  service_process service("lines 127.0.0.1:0\n",
                          {{"NOTIFY_SOCKET", folder.file("a")}, {"WATCHDOG_USEC", "2000"}, {"WATCHDOG_PID", "1"}});
  CHECK(manager.next() == "READY=1\nSTATUS=1 listeners on 2 loops");
  REQUIRE(service.next("where ").starts_with("127."));
  service.process().signal(SIGTERM);
  CHECK(manager.next() == "STOPPING=1\nSTATUS=draining");
}

TEST_CASE("notices that nobody wants, or that can't be sent, do no harm") {
  const captured_log log;
  ::unsetenv("NOTIFY_SOCKET");
  const eventer::service_notice none;
  CHECK_FALSE(none.wanted());
  none.ready("x");
  ::setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
  const eventer::service_notice nowhere;
  CHECK(nowhere.wanted());
  nowhere.main_process(1);
  CHECK(log.count("unix:/nonexistent/notify: No such file or directory") == 1);
  ::setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
  CHECK_FALSE(eventer::service_notice().wanted());
  CHECK(log.count("neither a path nor @name") == 1);
  ::unsetenv("NOTIFY_SOCKET");
}

TEST_CASE("an inherited socket is served by its name, by all loops, and is left to its owner", "[no-emulator]") {
  auto socket = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
  const std::string where = socket.local().to_string();
  service_process service("lines fd:web\n", {{"LISTEN_PID", "<pid>"}, {"LISTEN_FDS", "1"}, {"LISTEN_FDNAMES", "web"}},
                          {}, socket.native_handle());
  CHECK(service.next("where ") == where);
  CHECK(service.next("inherited ") == "web 1");
  CHECK_FALSE(contains(service.seen, "is still there"));
  CHECK(plain_client(where).ask("a") == "1 a");
  service.write("lines fd:web\nlines fd:admin\n");
  service.process().signal(SIGHUP);
  CHECK(service.says("no socket named \"admin\" was inherited (LISTEN_FDS); there is: web"));
  service.process().signal(SIGTERM);
  CHECK(service.process().wait().status == 0);
  // The next process takes over: the socket listens on.
  plain_client waiting(where);
  REQUIRE(waiting.connected());
  service_process next("others fd:unknown\n", {{"LISTEN_PID", "<pid>"}, {"LISTEN_FDS", "1"}, {"LISTEN_FDNAMES", ""}},
                       {}, socket.native_handle());
  CHECK(waiting.ask("b") == "2 b");
}

TEST_CASE("inherited descriptors that can't be accepted on, or are another process's, are errors", "[no-emulator]") {
  const eventer::unique_fd datagram(::socket(AF_INET, SOCK_DGRAM, 0)), silent(::socket(AF_INET, SOCK_STREAM, 0)),
      file(::open("/dev/null", O_RDONLY));
  const std::tuple<int, std::string, std::string> cases[] = {
      {datagram.get(), "<pid>", "can't be used: it is no stream socket"},
      {silent.get(), "<pid>", "can't be used: it does not listen"},
      {file.get(), "<pid>", "can't be used: it is no socket"},
      {silent.get(), "1", "no socket named \"web\" was inherited (LISTEN_FDS); there is: none"},
  };
  for (const auto& [fd, pid, sentence] : cases) {
    service_process service("lines fd:web\n", {{"LISTEN_PID", pid}, {"LISTEN_FDS", "1"}, {"LISTEN_FDNAMES", "web"}}, {},
                            fd);
    const auto end = service.process().wait();
    CHECK(end.status == 1);
    CHECK(contains(end.output, sentence));
  }
}

TEST_CASE("systemd-socket-activate starts a service with its sockets at the first connection", "[no-emulator]") {
  const char* const activate = "/usr/bin/systemd-socket-activate";
  if (::access(activate, X_OK) != 0) EVENTER_SKIP("systemd-socket-activate is not installed");
  const scratch_folder folder;
  std::string where = "127.0.0.1:0";
  {
    auto free_port = eventer::tcp_acceptor::listen(where).value();
    where = free_port.local().to_string();
  }
  service_process service(
      "lines fd:web\nothers fd:admin\n", {},
      {activate, "-l", where, "-l", folder.file("a"), "--fdname=web:admin", "-E", "EVENTER_TEST_CONFIG"});
  plain_client client;
  REQUIRE(running_service::eventually([&] { return (client = plain_client(where)).connected(); }));
  CHECK(client.ask("a") == "1 a");
  CHECK(plain_client(folder.address("a")).ask("b") == "2 b");
  CHECK(service.next("inherited ") == "web 1");
  CHECK(service.next("inherited ") == "admin 1");
  service.process().signal(SIGTERM);
  CHECK(service.process().wait().status == 0);
}
