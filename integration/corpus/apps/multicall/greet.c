/* Greets whoever connects, in the words of the name that it is called by. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void stop(int sig) { (void)sig; _exit(0); }

int main(int argc, char **argv) {
    const char *name = strrchr(argv[0], '/');
    name = name ? name + 1 : argv[0];
    const char *words = strcmp(name, "bye") == 0 ? "Good bye.\n" : strcmp(name, "hello") == 0 || strcmp(name, "greeter") == 0 ? "Hello.\n" : "?\n";
    if (argc < 2) {
        fputs(words, stdout);
        return 0;
    }
    signal(SIGTERM, stop);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    if (bind(s, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(s, 8) != 0) {
        perror("listen");
        return 1;
    }
    for (int c; (c = accept(s, NULL, NULL)) >= 0; close(c)) {
        if (write(c, words, strlen(words)) < 0)
            perror("write");
    }
    return 1;
}
