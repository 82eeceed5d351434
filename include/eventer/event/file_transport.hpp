// file_transport: a regular file, a directory or a disk behind a stream. epoll watches none of them, and reading them
// blocks: so each read and each write is a job of job_queue::files(), with a buffer of its own on the heap.
//
// It keeps to the file's own position, which a file has one of: so there is one job at a time. What must not be broken:
// the number is not closed while a job uses it, and whatever was read for somebody who has left is there for the next.
#pragma once

#include <cerrno>
#include <cstring>
#include <memory>
#include <new>

#include "eventer/event/descriptor.hpp"
#include "eventer/event/job_queue.hpp"

namespace eventer::inline EVENTER_ABI::detail {

class file_transport final : public transport {
 public:
  explicit file_transport(int fd) : file_(std::make_shared<file>(fd)) {}
  ~file_transport() override { file_->owner = nullptr; }

  void attach(descriptor* owner) noexcept override { file_->owner = owner; }
  ssize_t read(void* into, std::size_t size) noexcept override { return file_->read(into, size); }
  ssize_t write(const void* from, std::size_t size) noexcept override { return file_->write(from, size); }
  int shutdown_write() noexcept override {
    errno = ENOTSOCK;
    return -1;
  }
  void writer_left() noexcept override { file_->drop_write(); }
  bool is_busy() const noexcept override { return file_->is_out(); }
  int release(int fd) noexcept override { return file_->release(fd); }

  static bool is_for(int fd) noexcept {
    struct stat status {};
    return syscalls::fstat(fd, &status) == 0 &&
           (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) || S_ISDIR(status.st_mode));
  }

 private:
  static constexpr std::size_t most_at_once = std::size_t{256} << 10;

  // What a job uses while one is out; else the loop's.
  struct file : std::enable_shared_from_this<file> {
    explicit file(int fd) noexcept : fd_(fd) {}
    file(const file&) = delete;
    file& operator=(const file&) = delete;
    ~file() {
      if (owned_) syscalls::close(fd_);
    }

    descriptor* owner = nullptr;

    bool is_out() const noexcept { return out_ != purpose::none; }
    ssize_t read(void* into, std::size_t size) noexcept {
      if (unread_ > 0) {
        const std::size_t taken = size < unread_ ? size : unread_;
        std::memcpy(into, bytes_.get() + begin_, taken);
        begin_ += taken;
        unread_ -= taken;
        return static_cast<ssize_t>(taken);
      }
      if (scheduler::current() == nullptr) return syscalls::read(fd_, into, size);
      if (read_.is_due()) return read_.answer();
      if (is_out()) return would_block();
      return start(purpose::read, size);
    }
    ssize_t write(const void* from, std::size_t size) noexcept {
      if (written_.is_due()) return written_.answer();
      if (is_out()) return would_block();
      step_back();
      read_ = {};
      if (scheduler::current() == nullptr) return syscalls::write(fd_, from, size);
      return start(purpose::write, size, from);
    }
    // Nobody will ask what has become of it.
    void drop_write() noexcept {
      written_ = {};
      if (out_ == purpose::write) out_ = purpose::write_for_nobody;
    }
    // Where a job uses the number it stays here, and a duplicate is given: else the caller could close it, and the job
    // would meet what is opened under it next.
    int release(int fd) noexcept {
      released_ = true;
      if (is_out())
        if (const int duplicate = syscalls::fcntl(fd_, F_DUPFD_CLOEXEC); duplicate >= 0) return duplicate;
      step_back();
      owned_ = false;
      return fd;
    }

   private:
    enum class purpose : unsigned char { none, read, write, write_for_nobody };

    static ssize_t would_block() noexcept {
      errno = EAGAIN;
      return -1;
    }
    // The file's position is where its reader is, and not where he may come to.
    void step_back() noexcept {
      if (unread_ == 0) return;
      ::lseek(fd_, -static_cast<off_t>(unread_), SEEK_CUR);
      unread_ = 0;
    }
    ssize_t start(purpose what, std::size_t size, const void* from = nullptr) noexcept {
      if (size > most_at_once) size = most_at_once;
      if (size > room_) {
        bytes_.reset(new (std::nothrow) char[size]);
        room_ = bytes_ == nullptr ? 0 : size;
      }
      int error = ENOMEM;
      if (bytes_ != nullptr) {
        if (from != nullptr) std::memcpy(bytes_.get(), from, size);
        error = start_job(what, size);
      }
      if (error == 0) {
        out_ = what;
        return would_block();
      }
      errno = error;
      return -1;
    }
    int start_job(purpose what, std::size_t size) noexcept {
#if EVENTER_EXCEPTIONS
      try {
#endif
        // No thread; EAGAIN would mean something else here.
        return job_queue::files().post_at_once(step{shared_from_this(), what, size}) ? ENOBUFS : 0;
#if EVENTER_EXCEPTIONS
      } catch (const std::bad_alloc&) {
        return ENOMEM;
      }
#endif
    }
    // A job. It is destroyed on its loop when it comes home, if the loop is still there. Nobody waits for it, so that a
    // loop that is ending does not give it up: who is in a cancel_shield goes on with his file.
    struct step {
      step(std::shared_ptr<file>&& with, purpose to_do, std::size_t bytes) noexcept
          : self(std::move(with)), what(to_do), size(bytes) {}
      step(step&&) noexcept = default;
      ~step() {
        if (self != nullptr && scheduler::current() != nullptr) self->ended();
      }
      void operator()() const noexcept { self->work(what, size); }

      std::shared_ptr<file> self;
      purpose what;
      std::size_t size;
    };
    // On a thread of the queue.
    void work(purpose what, std::size_t size) noexcept {
      result_ =
          what == purpose::read ? syscalls::read(fd_, bytes_.get(), size) : syscalls::write(fd_, bytes_.get(), size);
      error_ = errno;
    }
    // On the loop again; also where there was no thread for it.
    void ended() noexcept {
      const purpose was = std::exchange(out_, purpose::none);
      if (was == purpose::none) return;
      if (was == purpose::read && result_ > 0) {
        begin_ = 0;
        unread_ = static_cast<std::size_t>(result_);
        if (released_) step_back();
      } else if (was == purpose::read) {
        read_ = {true, result_, error_};
      } else if (was == purpose::write) {
        written_ = {true, result_, error_};
      }
      if (owner != nullptr) owner->on_event(io_mask::read | io_mask::write);
    }

    // What a job has come to, kept for who asks, as the next job may be out by then.
    class outcome {
     public:
      outcome() noexcept = default;
      outcome(bool due, ssize_t result, int error) noexcept : due_(due), result_(result), error_(error) {}
      bool is_due() const noexcept { return due_; }
      ssize_t answer() noexcept {
        due_ = false;
        errno = error_;
        return result_;
      }

     private:
      bool due_ = false;
      ssize_t result_ = 0;
      int error_ = 0;
    };

    const int fd_;
    bool owned_ = true, released_ = false;
    purpose out_ = purpose::none;
    outcome read_, written_;  // the end of the file or an error; bytes or an error
    std::unique_ptr<char[]> bytes_;
    std::size_t room_ = 0, begin_ = 0, unread_ = 0;
    ssize_t result_ = 0;  // the job's
    int error_ = 0;       // likewise
  };

  std::shared_ptr<file> file_;
};

}  // namespace eventer::inline EVENTER_ABI::detail
