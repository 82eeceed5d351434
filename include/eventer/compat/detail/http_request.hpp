// received_request: a request as C sees it: texts that end with a NUL, tables, and the body.
//
// Texts and tables are made when they are first asked for, by any thread, and live as long as the session. The body is
// read by the request's coroutine alone.
#pragma once

#include <cstdint>
#include <forward_list>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/compat/detail/properties.hpp"
#include "eventer/compat/detail/timeval.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/http/request.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// The path wholly decoded, a '+' being a space, as libmtev has it. Without control characters and dot segments, as
// http::target sees to both, behind encoded slashes too.
inline std::string decoded_path(const http::request& asked) {
  const std::string_view target = asked.target();
  std::string path(asked.path());
  if (target.substr(0, target.find('?')).find('+') != std::string_view::npos) {
    std::string spaced;
    for (const char each : target.substr(0, target.find('?')))
      each == '+' ? spaced.append("%20") : spaced.append(1, each);
    http::target again;
    if (!http::target::parse(spaced, again)) path = again.path();
  }
  if (path.find('%') == std::string::npos) return path;
  return http::percent_decode(path).value_or(path);
}

class received_request {
 public:
  received_request(http::request& asked, std::string path)
      : asked_(&asked), path_(std::move(path)), ended_(asked.content_length() == 0) {}
  received_request(const received_request&) = delete;
  received_request& operator=(const received_request&) = delete;
  ~received_request() {
    mtev_hash_destroy(&fields_, nullptr, nullptr);
    mtev_hash_destroy(&parameters_, nullptr, nullptr);
    free_upload();
  }

  // --- any thread; nullptr, or an empty table, where it was not asked for before the request has ended ---

  const char* path() const noexcept { return path_.c_str(); }
  const char* method() {
    return text_of(method_, [](const http::request& asked) { return asked.method(); });
  }
  const char* protocol() {
    return text_of(protocol_, [](const http::request& asked) {
      return std::string_view(asked.minor_version() == 0 ? "HTTP/1.0" : "HTTP/1.1");
    });
  }
  // nullptr without a question mark.
  const char* query_string() {
    return text_of(query_string_, [](const http::request& asked) {
      return asked.target().find('?') == std::string_view::npos ? std::string_view() : asked.query_string();
    });
  }
  mtev_hash_table* parameters() {
    const std::lock_guard lock(mutex_);
    if ((asked_ == nullptr && !is_kept_) || std::exchange(has_parameters_, true)) return &parameters_;
    const char* const kept = query_string_ == nullptr ? "" : query_string_;
    (asked_ != nullptr ? asked_->query() : http::query_view(kept))
        .for_each_raw([this](std::string_view name, std::string_view value) {
          const char* const text = value.data() == nullptr ? nullptr : keep(http::form_decode(value)).c_str();
          const std::string& key = keep(http::form_decode(name));
          (void)mtev_hash_store(&parameters_, key.c_str(), static_cast<int>(key.size()), const_cast<char*>(text));
        });
    return &parameters_;
  }
  mtev_hash_table* fields() {
    const std::lock_guard lock(mutex_);
    if ((asked_ == nullptr && !is_kept_) || std::exchange(has_fields_, true)) return &fields_;
    if (asked_ != nullptr) {
      for (std::size_t i = 0; i < asked_->header_count(); ++i)
        add_field(asked_->header(i).name, asked_->header(i).value);
      return &fields_;
    }
    for (std::string_view left = kept_fields_; !left.empty();) {
      const std::string_view name = left.substr(0, left.find('\0'));
      left.remove_prefix(name.size() + 1);
      const std::string_view value = left.substr(0, left.find('\0'));
      left.remove_prefix(value.size() + 1);
      add_field(name, value);
    }
    return &fields_;
  }
  const timeval& began() const noexcept { return began_; }

  // Whose request it is, as an authorization has found out.
  const char* user() const {
    const std::lock_guard lock(mutex_);
    return user_;
  }
  const char* mechanism() const {
    const std::lock_guard lock(mutex_);
    return mechanism_;
  }
  void set_user(const char* user, const char* mechanism) {
    const std::lock_guard lock(mutex_);
    user_ = user == nullptr ? nullptr : keep(user).c_str();
    mechanism_ = mechanism == nullptr ? nullptr : keep(mechanism).c_str();
  }
  int descriptor() {
    const std::lock_guard lock(mutex_);
    return asked_ == nullptr ? -1 : asked_->stream().native_handle();
  }
  std::uint64_t content_length() const {
    const std::lock_guard lock(mutex_);
    return asked_ == nullptr ? 0 : asked_->content_length().value_or(0);
  }
  bool is_chunked() const {
    const std::lock_guard lock(mutex_);
    return asked_ != nullptr && !asked_->content_length();
  }
  bool client_gone() const {
    const std::lock_guard lock(mutex_);
    return asked_ == nullptr || asked_->client_gone();
  }

  // --- the body ---

  // Bytes of a body that is to be in memory as a whole: see eventer_propset("http_upload_limit").
  static std::uint64_t upload_limit() {
    const auto set = properties::of_process().find("http_upload_limit");
    return set ? number_in(*set).value_or(1 << 20) : 1 << 20;
  }

  bool has_ended() const noexcept { return ended_; }
  std::uint64_t bytes_read() const noexcept { return read_; }
  // What is wrong with it; the server knows what to answer, but to body_too_large.
  std::error_code failure() const noexcept { return failure_; }

  // All that was not read yet, into memory. Waits.
  std::error_code read_all() {
    const std::uint64_t most = upload_limit();
    if (content_length() > most) return failure_ = http::make_error_code(http::errc::body_too_large);
    while (!ended_ && !failure_) {
      read_more();
      if (left() > most) failure_ = http::make_error_code(http::errc::body_too_large);
    }
    return failure_;
  }
  // The next bytes, for take(), unless there are some. Waits.
  std::error_code read_some() {
    if (left() == 0 && !ended_ && !failure_) {
      filled_ = taken_ = 0;
      read_more();
    }
    return failure_;
  }
  std::size_t left() const noexcept { return filled_ - taken_; }
  // What was read and not taken: moves up to `size` bytes.
  std::size_t take(char* into, std::size_t size) noexcept {
    const std::size_t count = std::min(size, left());
    if (into != nullptr && count > 0) std::memcpy(into, body_.data() + taken_, count);
    taken_ += count;
    return count;
  }
  // What was read and not taken, with a NUL behind it.
  std::pair<void*, std::int64_t> upload() noexcept {
    if (has_own_upload_) return {own_, own_size_};
    return {body_.data() + taken_, static_cast<std::int64_t>(left())};
  }
  void set_upload(void* data, std::int64_t size, void (*free_it)(void*, std::int64_t, void*), void* closure) {
    free_upload();
    has_own_upload_ = true;
    own_ = data;
    own_size_ = size;
    free_own_ = free_it;
    own_closure_ = closure;
  }
  void free_upload() noexcept {
    if (has_own_upload_ && free_own_ != nullptr) free_own_(own_, own_size_, own_closure_);
    has_own_upload_ = false;
    body_ = std::string();
    filled_ = taken_ = 0;
  }

  // For who asks when the request is gone: its texts, of which tables are made when they are asked for.
  void keep() {
    (void)method();
    (void)protocol();
    (void)query_string();
    const std::lock_guard lock(mutex_);
    if (asked_ == nullptr || std::exchange(is_kept_, true) || has_fields_) return;
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < asked_->header_count(); ++i)
      bytes += asked_->header(i).name.size() + asked_->header(i).value.size() + 2;
    kept_fields_.reserve(bytes);
    for (std::size_t i = 0; i < asked_->header_count(); ++i) {
      kept_fields_.append(asked_->header(i).name).append(1, '\0');
      kept_fields_.append(asked_->header(i).value).append(1, '\0');
    }
  }
  // The request is its connection's again.
  void detach() noexcept {
    const std::lock_guard lock(mutex_);
    asked_ = nullptr;
  }

 private:
  static constexpr std::size_t least_room = std::size_t{4} << 10, most_at_once = std::size_t{64} << 10;

  // Under the lock.
  const std::string& keep(std::string text) { return texts_.emplace_front(std::move(text)); }
  void add_field(std::string_view of, std::string_view with) {
    std::string name(of);
    for (char& each : name) each = http::detail::lower_case(each);
    const std::string& key = keep(std::move(name));
    const char* const value = keep(std::string(with)).c_str();
    (void)mtev_hash_replace(&fields_, key.c_str(), static_cast<int>(key.size()), const_cast<char*>(value), nullptr,
                            nullptr);
  }
  template <class Look>
  const char* text_of(const char*& known, Look look) {
    const std::lock_guard lock(mutex_);
    if (known != nullptr || asked_ == nullptr) return known;
    const std::string_view found = look(*asked_);
    if (found.data() != nullptr) known = keep(std::string(found)).c_str();
    return known;
  }

  void read_more() {
    const std::uint64_t declared = content_length();
    if (body_.size() - filled_ < least_room) body_.resize(filled_ + std::max(least_room, filled_));
    const std::size_t room = std::min(body_.size() - filled_, most_at_once);
    const auto got = asked_->read_some(buffer(body_.data() + filled_, room));
    if (got) {
      read_ += *got;
      filled_ += *got;
      if (filled_ < body_.size()) body_[filled_] = '\0';  // behind the whole text there is one
      if (declared != 0 && read_ == declared) ended_ = true;
    } else if (got.error() == eventer::errc::end_of_stream) {
      ended_ = true;
    } else {
      failure_ = got.error();
    }
  }

  mutable std::mutex mutex_;
  http::request* asked_;
  const std::string path_;
  const timeval began_ = wall_clock();
  std::forward_list<std::string> texts_;
  const char *method_ = nullptr, *protocol_ = nullptr, *query_string_ = nullptr;
  const char *user_ = nullptr, *mechanism_ = nullptr;
  bool has_parameters_ = false, has_fields_ = false;
  bool is_kept_ = false;
  std::string kept_fields_;  // a name and a value, each with a NUL behind it, in turn
  mtev_hash_table parameters_{}, fields_{};

  bool ended_;
  std::uint64_t read_ = 0;
  std::error_code failure_;
  std::string body_;                    // with room for more
  std::size_t filled_ = 0, taken_ = 0;  // of it
  bool has_own_upload_ = false;
  void* own_ = nullptr;
  std::int64_t own_size_ = 0;
  void (*free_own_)(void*, std::int64_t, void*) = nullptr;
  void* own_closure_ = nullptr;
};

}  // namespace eventer::inline EVENTER_ABI::compat
