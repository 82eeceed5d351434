// Chat rooms over WebSocket, with a page for browsers: open http://127.0.0.1:8080/ in two tabs.
//
//   chat [--listen 127.0.0.1:8080] [--history 20]
//
//   kill -TERM PID        tells everybody, and ends
//
// Each member has a queue and a coroutine that writes it out: one whose connection is slow holds up nobody, and is sent
// away when too much waits for it.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <deque>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <eventer/websocket.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "chat_page.hpp"

namespace {

namespace http = eventer::http;

constexpr std::size_t queue_at_most = 100;  // lines that wait for one member
constexpr std::size_t name_at_most = 40;    // bytes

// A line is on the heap once, however many are told it.
using line = std::shared_ptr<const std::string>;

class member {
 public:
  explicit member(http::websocket& socket) : socket_(socket) {}

  // Does not wait.
  void tell(const line& what) {
    if (waiting_.size() >= queue_at_most) is_slow_ = true;
    if (!is_slow_) waiting_.push_back(what);
    changed_.set();
  }
  void end() {
    ended_ = true;
    changed_.set();
  }
  // Writes what it is told until the end, or until it is sent away.
  void write_all() {
    while (!ended_ && !is_slow_) {
      if (waiting_.empty()) {
        changed_.reset();
        changed_.wait();
        continue;
      }
      const line next = std::move(waiting_.front());
      waiting_.pop_front();
      if (!socket_.write(*next)) return;
    }
    if (is_slow_ && !ended_) (void)socket_.close(http::websocket_close::policy, "too slow");
  }

 private:
  http::websocket& socket_;
  std::deque<line> waiting_;
  eventer::manual_reset_event changed_;
  bool is_slow_ = false, ended_ = false;
};

class room {
 public:
  explicit room(std::size_t history) : history_at_most_(history) {}

  void join(member& who) {
    for (const line& each : history_) who.tell(each);
    members_.insert(&who);
  }
  void leave(member& who) { members_.erase(&who); }
  bool is_empty() const { return members_.empty(); }
  void say(std::string text) {
    const auto what = std::make_shared<const std::string>(std::move(text));
    history_.push_back(what);
    if (history_.size() > history_at_most_) history_.pop_front();
    for (member* const each : members_) each->tell(what);
  }

 private:
  std::size_t history_at_most_;
  std::deque<line> history_;
  std::set<member*> members_;
};

class chat {
 public:
  explicit chat(std::size_t history) : history_(history) {}

  // A member, from the handshake to the end.
  void serve(http::websocket& socket, const std::string& name, const std::string& where) {
    const std::shared_ptr<room> here = room_of(where);
    const auto me = std::make_shared<member>(socket);  // others reach it while this waits
    // Ends with this function, also where that is unwound: nobody uses the socket then.
    eventer::task_group writes;
    struct at_end {
      chat& all;
      std::shared_ptr<room> from;
      const std::string& name;
      const std::string& where;
      member& who;
      ~at_end() {
        from->leave(who);
        who.end();
        if (from->is_empty())
          all.rooms_.erase(where);
        else
          from->say("* " + name + " has left");
      }
    };
    {
      here->join(*me);
      const at_end leaves{*this, here, name, where, *me};
      here->say("* " + name + " is here");
      writes.spawn({.name = "chat: writes"}, [me] { me->write_all(); });
      while (const auto message = socket.read())
        if (message->is_text && !message->data.empty()) here->say(name + ": " + message->data);
    }
    writes.join();
  }

 private:
  std::shared_ptr<room> room_of(const std::string& name) {
    std::shared_ptr<room>& found = rooms_[name];
    if (found == nullptr) found = std::make_shared<room>(history_);
    return found;
  }

  std::size_t history_;
  std::map<std::string, std::shared_ptr<room>> rooms_;
};

http::router routes(std::size_t history) {
  const auto all = std::make_shared<chat>(history);  // of one loop
  http::router result;
  result.get("/", [](http::request&, http::response& answer) { answer.html(chat_page); });
  result.get("/chat/{room}", [all](http::request& asked, http::response& answer) {
    const std::string name(asked.query("name"));
    if (name.empty() || name.size() > name_at_most || !http::is_utf8(name))
      throw http::error(400, "say who you are: /chat/room?name=me\n");
    http::serve_websocket(asked, answer,
                          [all, name, where = std::string(asked.parameter("room"))](http::websocket& socket) {
                            all->serve(socket, name, where);
                          },
                          {.max_message = 4 << 10});
  });
  return result;
}

int serve(const std::string& address, std::size_t history) {
  eventer::signal_set signals{SIGTERM, SIGINT};
  const http::server server(routes(history));
  const auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen(address).value());
  std::printf("listening on %s\n", acceptor->local().to_string().c_str());
  std::fflush(stdout);
  auto serving = eventer::spawn([server, acceptor] { return server.serve(*acceptor); });
  (void)signals.next();
  const std::size_t left = server.drain(std::chrono::seconds(10), std::chrono::milliseconds(100));
  if (left > 0) std::fprintf(stderr, "chat: %zu connections were cancelled\n", left);
  return serving.join() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:8080";
  std::size_t history = 20;
  CLI::App app{"Chat rooms over WebSocket."};
  app.add_option("-l,--listen", address, "where, such as 127.0.0.1:8080")->capture_default_str();
  app.add_option("--history", history, "lines that who joins a room is told")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return eventer::run([&] { return serve(address, history); });
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "chat: %s\n", failure.what()), 1;
  }
}
