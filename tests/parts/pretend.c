/* A program that has the kernel show another file as the one that it executes: pretend FILE
 * For a process with CAP_CHECKPOINT_RESTORE in its user namespace: prctl(2), PR_SET_MM_MAP.  The file that it was
 * started from may not be mapped any more, so each mapping gives way to a copy first.  Prints the pid of a child. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static struct { unsigned long begin, end; int protection; } mapped[32];

int main(int argc, char **argv) {
    char line[4096], own[4096], kind[5];
    unsigned long field[50] = {0};
    int count = 0;
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (argc != 2 || length < 0) return 2;
    own[length] = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, own) && sscanf(line, "%lx-%lx %4s", &mapped[count].begin, &mapped[count].end, kind) == 3)
            mapped[count++].protection = (kind[0] == 'r' ? PROT_READ : 0) | (kind[1] == 'w' ? PROT_WRITE : 0) |
                                         (kind[2] == 'x' ? PROT_EXEC : 0);
    fclose(maps);
    FILE *stat = fopen("/proc/self/stat", "r");
    if (!fgets(line, sizeof line, stat)) return 3;
    fclose(stat);
    char *at = strrchr(line, ')') + 4;
    for (int i = 4; i < 52 && *at; i++) /* proc_pid_stat(5) counts from 1 */
        field[i - 2 < 50 ? i - 2 : 49] = strtoul(at, &at, 10);
    int file = open(argv[1], O_RDONLY);
    for (int i = 0; i < count; i++) {
        unsigned long size = mapped[i].end - mapped[i].begin;
        void *copy = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(copy, (void *)mapped[i].begin, size);
        mprotect(copy, size, mapped[i].protection);
        mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, mapped[i].begin);
    }
    struct prctl_mm_map map = {
        .start_code = mapped[0].begin, .end_code = mapped[0].end, .start_data = mapped[count - 1].begin,
        .end_data = mapped[count - 1].end, .start_brk = (unsigned long)sbrk(0), .brk = (unsigned long)sbrk(0),
        .start_stack = (unsigned long)argv, .arg_start = (unsigned long)argv[0], .arg_end = (unsigned long)argv[0] + 1,
        .env_start = (unsigned long)argv[0], .env_end = (unsigned long)argv[0] + 1, .exe_fd = file,
    };
    if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0)) {
        perror("PR_SET_MM_MAP");
        return 4;
    }
    int child = fork();
    if (child) {
        printf("%d\n", child);
        fflush(stdout);
    }
    for (;;) pause();
}
