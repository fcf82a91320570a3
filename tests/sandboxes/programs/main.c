#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is(const char *mode, const char *name) { return strcmp(mode, name) == 0; }

int main(int argc, char **argv) {
    const char *mode = argv[1];
    char line[1000];
    if (is(mode, "echo"))
        while (fgets(line, sizeof line, stdin)) printf("got %s", line);
    if (is(mode, "args"))
        for (int i = 2; i < argc; i++) puts(argv[i]);
    if (is(mode, "exit")) return 3;
    if (is(mode, "stderr")) fprintf(stderr, "oops\n");
    if (is(mode, "crash")) abort();
    if (is(mode, "unicode")) puts("žluťoučký 🐎 漢字");
    if (is(mode, "lines"))
        for (int number = 1; number <= 200; number++) printf("line %d\n", number);
    if (is(mode, "memory"))
        for (;;) {
            volatile char *block = malloc(16 << 20);
            for (int i = 0; block && i < 16 << 20; i += 4096) block[i] = 1;
            if (!block) abort();
        }
    if (is(mode, "loop")) {
        puts("before");
        for (;;) usleep(10000);
    }
    if (is(mode, "file")) {
        FILE *file = fopen("out.txt", "w");
        fputs("made here\n", file);
        fclose(file);
    }
    return 0;
}
