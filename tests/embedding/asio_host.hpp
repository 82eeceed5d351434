// Boost.Asio's io_context, whose reactor is edge-triggered.
#pragma once

#include "hosts.hpp"

// Its fences are unknown to ThreadSanitizer; the mutex of its queue suffices.
#if EVENTER_TSAN
#define BOOST_ASIO_DISABLE_FENCED_BLOCK 1
#endif
#include <boost/asio.hpp>

class asio_host final : public host {
 public:
  asio_host(eventer::event_loop& loop, mode how) : host(loop, how), handle_(context_, ::dup(loop.native_handle())) {
    wait();
  }
  void call_repeatedly(std::function<bool()> function) override {
    boost::asio::post(context_, [this, function = std::move(function)] {
      const bool goes_on = function();
      check_done();
      if (goes_on) call_repeatedly(function);
    });
  }

 private:
  void wait() {
    handle_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this](const boost::system::error_code& error) {
      if (error) return;
      poll();
      set_timer();
      wait();
    });
  }
  void set_timer() {
    const int limit = milliseconds_to_deadline();
    if (limit < 0) return;
    deadline_.expires_after(std::chrono::milliseconds(limit));
    deadline_.async_wait([this](const boost::system::error_code& error) {
      if (error || !is_due()) return;
      poll();
      set_timer();
    });
  }
  void run(std::chrono::seconds give_up_after) override {
    boost::asio::steady_timer net(context_, give_up_after);
    net.async_wait([this](const boost::system::error_code& error) {
      if (!error) give_up();
    });
    set_timer();
    context_.restart();
    context_.run();
  }
  void quit() override { context_.stop(); }

  boost::asio::io_context context_;
  boost::asio::posix::stream_descriptor handle_;
  boost::asio::steady_timer deadline_{context_};
};
