/* Leaves SIGPIPE at its default action, which ends the process, whoever tries to ignore it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>

typedef void (*handler)(int);

handler signal(int number, handler action)
{
    static handler (*next)(int, handler);
    if (number == SIGPIPE)
        return SIG_DFL;
    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "signal");
    return next(number, action);
}

int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    static int (*next)(int, const struct sigaction *, struct sigaction *);
    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
    return next(number, number == SIGPIPE ? NULL : action, old);
}
