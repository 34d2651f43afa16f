/* Name lookups that do what a file says; preloaded before the system's own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STALL_MS 30000
#define POLL_MS 10

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static void read_word(char *word, size_t size) {
    const char *path = getenv("TTN_TEST_NAMES");
    FILE *file = path ? fopen(path, "r") : NULL;
    word[0] = 0;
    if (file) {
        if (!fgets(word, size, file)) word[0] = 0;
        fclose(file);
    }
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    static const char END[] = ".fault.test";
    lookup *original = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    size_t length = name ? strlen(name) : 0;
    char word[16];
    int waited;

    if (length < sizeof END || strcmp(name + length - (sizeof END - 1), END) != 0)
        return original(name, service, hints, found);
    read_word(word, sizeof word);
    for (waited = 0; strcmp(word, "stall") == 0 && waited < STALL_MS; waited += POLL_MS) {
        usleep(POLL_MS * 1000);
        read_word(word, sizeof word);
    }
    if (strcmp(word, "found") == 0)
        return original("127.0.0.1", service, hints, found);
    return strcmp(word, "unknown") == 0 ? EAI_NONAME : EAI_AGAIN;
}
