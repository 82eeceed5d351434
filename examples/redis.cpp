// Redis from coroutines: hiredis' asynchronous interface on this loop. command() reads as if it blocked; what many
// coroutines ask over one connection at once goes out together.
//
//   redis 127.0.0.1:6379        or: redis unix:/run/redis/redis.sock
//
// Sets and gets from a hundred coroutines, hears a published message, and shows what an error and a time limit look
// like. Its keys begin with "eventer:example:" and expire after a minute.
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <deque>
#include <eventer/eventer.hpp>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using eventer::io_mask;

// Tells hiredis when its socket is ready: a classic event, for what hiredis says by its hooks that it wants. hiredis
// frees its context by itself when the connection fails: context() is nullptr then.
class adapter : public std::enable_shared_from_this<adapter> {
 public:
  static std::shared_ptr<adapter> attach(redisAsyncContext* context) {
    const auto self = std::make_shared<adapter>();
    self->context_ = context;
    self->until_cleanup_ = self;
    context->ev.data = self.get();
    context->ev.addRead = [](void* data) noexcept { of(data).want(io_mask::read); };
    context->ev.delRead = [](void* data) noexcept { of(data).want_no_more(io_mask::read); };
    context->ev.addWrite = [](void* data) noexcept { of(data).want(io_mask::write); };
    context->ev.delWrite = [](void* data) noexcept { of(data).want_no_more(io_mask::write); };
    context->ev.cleanup = [](void* data) noexcept { of(data).clean_up(); };
    return self;
  }

  redisAsyncContext* context() const { return context_; }
  const std::string& why_ended() const { return why_ended_; }
  unsigned times_written() const { return times_written_; }

 private:
  static adapter& of(void* data) { return *static_cast<adapter*>(data); }
  bool wants(io_mask direction) const { return context_ != nullptr && any(wanted_ & direction); }

  void want(io_mask direction) {
    wanted_ = wanted_ | direction;
    watch();
  }
  void want_no_more(io_mask direction) {
    wanted_ = wanted_ & ~direction;
    watch();
  }
  void watch() {
    if (watched_.active()) return watched_.set_interest(wanted_);
    if (!any(wanted_)) return;
    watched_ = eventer::event_loop::current().watch(
        context_->c.fd, wanted_, [self = shared_from_this()](io_mask ready) { return self->serve(ready); });
  }
  // Answers what to go on with.
  io_mask serve(io_mask ready) {
    if (wants(io_mask::read) && any(ready & (io_mask::read | io_mask::error))) redisAsyncHandleRead(context_);
    if (wants(io_mask::write) && any(ready & (io_mask::write | io_mask::error))) {
      ++times_written_;
      redisAsyncHandleWrite(context_);
    }
    return context_ != nullptr ? wanted_ : io_mask::none;
  }

  // hiredis closes the socket next, and nobody may watch it any more.
  void clean_up() {
    if (context_->err != 0) why_ended_ = context_->errstr;
    context_ = nullptr;
    watched_.cancel();
    until_cleanup_.reset();
  }

  redisAsyncContext* context_ = nullptr;
  std::shared_ptr<adapter> until_cleanup_;
  std::string why_ended_ = "the connection was closed";
  io_mask wanted_ = io_mask::none;
  unsigned times_written_ = 0;
  eventer::event watched_;
};

struct reply {
  int type = REDIS_REPLY_NIL;
  long long integer = 0;
  std::string text;
  std::vector<reply> elements;

  reply() = default;
  explicit reply(const redisReply& from) : type(from.type), integer(from.integer) {
    if (from.str != nullptr) text.assign(from.str, from.len);
    for (std::size_t i = 0; i < from.elements; ++i) elements.emplace_back(*from.element[i]);
  }
};

// Where hiredis' callback leaves replies for a coroutine that waits for them. It lies on the heap, as locals of a
// coroutine that waits are out of reach.
class mailbox {
 public:
  // A reply, or the connection's end.
  void put(const redisAsyncContext& from, const void* answer) {
    if (answer != nullptr)
      replies_.emplace_back(*static_cast<const redisReply*>(answer));
    else
      ended_ = from.err != 0 ? from.errstr : "the connection was closed";
    sleeper_.cancel();
  }

  // What a coroutine can wait for is another one's end. So one sleeps for the time limit, and put() ends it early.
  reply take(eventer::duration limit) {
    while (replies_.empty() && ended_.empty()) {
      sleeper_ = eventer::spawn({.name = "time limit"}, [limit] { eventer::sleep_for(limit); });
      const struct end_of_wait {
        mailbox& self;
        ~end_of_wait() { self.sleeper_.cancel(); }
      } at_end{*this};
      if (sleeper_.try_join())
        throw std::system_error(make_error_code(eventer::errc::timed_out), "waiting for a reply");
    }
    if (replies_.empty()) throw std::runtime_error(ended_);
    reply first = std::move(replies_.front());
    replies_.pop_front();
    if (first.type == REDIS_REPLY_ERROR) throw std::runtime_error(first.text);
    return first;
  }

 private:
  std::deque<reply> replies_;
  std::string ended_;
  eventer::join_handle<void> sleeper_;
};

// Any number of coroutines may ask at once: share it with std::shared_ptr. Errors: std::runtime_error in the server's
// words, std::system_error (timed_out).
class connection {
 public:
  // "127.0.0.1:6379" or "unix:/path".
  explicit connection(const std::string& address) {
    if (const auto valid = eventer::endpoint::parse(address); !valid) throw std::runtime_error(valid.error().message());
    const auto colon = address.rfind(':');
    const auto host = address.starts_with('[') ? address.substr(1, colon - 2) : address.substr(0, colon);
    auto* const context = address.starts_with("unix:")
                              ? redisAsyncConnectUnix(address.substr(5).c_str())
                              : redisAsyncConnect(host.c_str(), std::stoi(address.substr(colon + 1)));
    if (context == nullptr) throw std::bad_alloc();
    hooks_ = adapter::attach(context);
    if (context->err == 0) return;
    redisAsyncFree(context);
    throw std::runtime_error(hooks_->why_ended());
  }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;
  ~connection() {
    if (hooks_->context() != nullptr) redisAsyncFree(hooks_->context());
  }

  reply command(std::initializer_list<std::string_view> words, eventer::duration limit = 5s) {
    const auto box = std::make_shared<mailbox>();
    // hiredis calls back exactly once, perhaps when this coroutine has given up: so it owns a share of the mailbox.
    auto share = std::make_unique<std::shared_ptr<mailbox>>(box);
    const auto on_reply = [](redisAsyncContext* context, void* answer, void* data) noexcept {
      const std::unique_ptr<std::shared_ptr<mailbox>> mine(static_cast<std::shared_ptr<mailbox>*>(data));
      (*mine)->put(*context, answer);
    };
    send(words, on_reply, share.get());
    (void)share.release();
    return box->take(limit);
  }

  // `callback` gets `data` with every reply. Neither `words` nor what they point at is needed any more afterwards.
  void send(std::initializer_list<std::string_view> words, redisCallbackFn* callback, void* data) {
    if (hooks_->context() == nullptr) throw std::runtime_error(hooks_->why_ended());
    std::vector<const char*> texts;
    std::vector<std::size_t> lengths;
    for (const std::string_view word : words) {
      texts.push_back(word.data());
      lengths.push_back(word.size());
    }
    const auto count = static_cast<int>(texts.size());
    if (redisAsyncCommandArgv(hooks_->context(), callback, data, count, texts.data(), lengths.data()) != REDIS_OK)
      throw std::runtime_error("hiredis refused the command");
  }
  unsigned times_written() const { return hooks_->times_written(); }

 private:
  std::shared_ptr<adapter> hooks_;
};

// Hears what is published on a channel, over a connection of its own, as Redis wants it.
class subscription {
 public:
  subscription(const std::string& address, std::string_view channel) : connection_(address) {
    const auto on_message = [](redisAsyncContext* context, void* answer, void* data) noexcept {
      static_cast<mailbox*>(data)->put(*context, answer);
    };
    connection_.send({"SUBSCRIBE", channel}, on_message, messages_.get());
    messages_->take(5s);  // it is confirmed
  }
  std::string next(eventer::duration limit = 5s) { return messages_->take(limit).elements.at(2).text; }

 private:
  std::shared_ptr<mailbox> messages_ = std::make_shared<mailbox>();  // outlives the connection, whose end goes into it
  connection connection_;
};

bool set_and_get(std::shared_ptr<connection> database, unsigned number) {
  const std::string key = "eventer:example:" + std::to_string(number), value = std::to_string(number * number);
  database->command({"SET", key, value, "EX", "60"});
  return database->command({"GET", key}).text == value;
}

bool ask_at_once(std::shared_ptr<connection> database, unsigned coroutines) {
  const auto start = eventer::clock::now();
  const unsigned written = database->times_written();
  std::vector<eventer::join_handle<bool>> all;
  for (unsigned number = 0; number < coroutines; ++number) all.push_back(eventer::spawn(set_and_get, database, number));
  unsigned right = 0;
  for (auto& each : all) right += each.join() ? 1U : 0U;
  const std::chrono::duration<double, std::milli> time = eventer::clock::now() - start;
  std::printf("%u of %u coroutines got what they had set, over one connection that wrote %u times in %.1f ms\n", right,
              coroutines, database->times_written() - written, time.count());
  return right == coroutines;
}

// Whether the command ended with an error, as it should.
bool is_refused(const std::shared_ptr<connection>& database, std::initializer_list<std::string_view> words,
                eventer::duration limit) {
  try {
    database->command(words, limit);
    return false;
  } catch (const std::exception& failure) {
    std::printf("%s: %s\n", std::string(*words.begin()).c_str(), failure.what());
    return true;
  }
}

std::shared_ptr<connection> connect(const std::string& address, eventer::duration limit) {
  try {
    auto database = std::make_shared<connection>(address);
    database->command({"PING"}, limit);
    return database;
  } catch (const std::exception& failure) {
    throw std::runtime_error("cannot connect to " + address + ": " + failure.what() +
                             "\nSay where a server runs (redis 127.0.0.1:6379), or start one: redis-server");
  }
}

int demonstrate(const std::string& address, eventer::duration limit, unsigned coroutines) {
  const auto database = connect(address, limit);
  std::printf("connected to Redis at %s\n", address.c_str());
  bool good = ask_at_once(database, coroutines);

  subscription news(address, "eventer:example");
  const auto listeners = database->command({"PUBLISH", "eventer:example", "hello"}).integer;
  std::printf("published to %lld: %s\n", listeners, news.next().c_str());

  good = is_refused(database, {"GET"}, 5s) && good;
  good = is_refused(connect(address, limit), {"BLPOP", "eventer:example:none", "5"}, 100ms) && good;
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:6379";
  double limit_seconds = 10;
  unsigned coroutines = 100;
  CLI::App app{"Talks to a Redis server from many coroutines over one connection."};
  app.add_option("address", address, "where the server is: 127.0.0.1:6379 or unix:/path")->capture_default_str();
  app.add_option("-n,--coroutines", coroutines, "how many ask at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("-t,--limit", limit_seconds, "seconds that connecting may take")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const auto limit = std::chrono::duration_cast<eventer::duration>(std::chrono::duration<double>(limit_seconds));
  std::signal(SIGPIPE, SIG_IGN);  // hiredis writes to its socket with write(), also when the server has gone
  try {
    return eventer::run([=] { return demonstrate(address, limit, coroutines); });
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "redis: %s\n", failure.what());
    return 1;
  }
}
