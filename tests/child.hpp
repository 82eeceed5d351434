// Runs a function in a child process, for tests of what ends one: a broken rule, an overflow, terminate.
#pragma once

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

struct child_result {
  int exit_status = -1;  // -1 if a signal ended it
  int signal = 0;
  std::string output;  // standard output and error
};

// The child starts with default signal actions (the test framework catches some), and writes no core file.
template <class F>
child_result run_in_child(F&& function) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) std::abort();
  std::fflush(stdout);  // else the child would write what is in its buffer again
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe_ends[1], 1);
    ::dup2(pipe_ends[1], 2);
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    for (const int number : {SIGSEGV, SIGBUS, SIGABRT, SIGTERM, SIGILL, SIGFPE}) ::signal(number, SIG_DFL);
    function();
    std::fflush(nullptr);
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  child_result result;
  char part[4096];
  for (ssize_t got; (got = ::read(pipe_ends[0], part, sizeof part)) > 0;)
    result.output.append(part, static_cast<std::size_t>(got));
  ::close(pipe_ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status)) result.exit_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
