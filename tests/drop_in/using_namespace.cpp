// `using namespace eventer` beside the names of C, POSIX and std: none of these becomes ambiguous (`clock()` alone
// does: eventer::clock is a public type). Only compiled (scripts/check-headers), with each header that programs
// include.
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <string>

using namespace std;
using namespace eventer;

int main() {
  struct stat status {};
  struct pollfd waits_for {};
  struct timeval now {};
  fd_set none;
  FD_ZERO(&none);
  double numbers = log(1.0) + static_cast<double>(time(nullptr));
  int codes = system("true") + stat("/", &status) + poll(&waits_for, 0, 0) + select(0, &none, nullptr, nullptr, &now) +
              accept(-1, nullptr, nullptr) + listen(-1, 0) + close(-1) + pipe(nullptr) + raise(0);
  signal(SIGPIPE, SIG_IGN);
  cout << numbers << codes << to_string(codes) << endl;
  return codes;
}
