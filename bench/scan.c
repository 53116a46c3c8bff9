/* The floor under one look of the pruner: the same files of /proc, read by C.
 *
 *   scan FIRST LAST       a pass for each line on standard input, uids FIRST to LAST taken for the pools';
 *                         prints nanoseconds of CPU time, processes passed, processes read in full
 *   scan idle NUMBER UID  NUMBER idle processes of UID in sessions of 50, which end with this one
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PIDS = 4194304, SESSION = 50 };

struct seen {
    int pid, parent, session;
    unsigned real, effective, saved;
    unsigned long long start;
    int apart;
    char executable[4096], cgroups[4096];
};

static char has[MOST_PIDS];
static struct seen *seen;
static size_t seen_count, seen_room;

static ssize_t read_file(int directory, const char *path, char *into, size_t room)
{
    int file = openat(directory, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    ssize_t got = read(file, into, room - 1);
    close(file);
    if (got >= 0)
        into[got] = 0;
    return got;
}

static int uids(const char *status, unsigned *real, unsigned *effective, unsigned *saved)
{
    const char *line = strstr(status, "\nUid:\t");
    return line && sscanf(line, "\nUid:\t%u\t%u\t%u", real, effective, saved) == 3;
}

/* As gridwarden.prune.snapshot: stat, status and exe of each; cgroup and user namespace of a pool's. */
static struct seen *look(int pid, unsigned first, unsigned last)
{
    char path[64], text[16384];
    snprintf(path, sizeof path, "/proc/%d", pid);
    int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return NULL;
    if (seen_count == seen_room)
        seen = realloc(seen, (seen_room = seen_room * 2 + 64) * sizeof *seen);
    struct seen *one = &seen[seen_count];
    memset(one, 0, offsetof(struct seen, executable));
    one->pid = pid;
    if (read_file(directory, "stat", text, sizeof text) <= 0)
        goto gone;
    char *fields = strrchr(text, ')');
    if (!fields || sscanf(fields + 2,
                          "%*c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                          &one->parent, &one->session, &one->start) != 3)
        goto gone;
    if (read_file(directory, "status", text, sizeof text) <= 0 || !uids(text, &one->real, &one->effective, &one->saved))
        goto gone;
    ssize_t length = readlinkat(directory, "exe", one->executable, sizeof one->executable - 1);
    one->executable[length > 0 ? length : 0] = 0;
    if (one->real >= first && one->real <= last) {
        char own[64], its[64];
        read_file(directory, "cgroup", one->cgroups, sizeof one->cgroups);
        ssize_t a = readlinkat(directory, "ns/user", its, sizeof its);
        ssize_t b = readlink("/proc/self/ns/user", own, sizeof own);
        one->apart = a < 0 || a != b || memcmp(own, its, a);
    }
    close(directory);
    has[pid] = 1;
    seen_count++;
    return one;
gone:
    close(directory);
    return NULL;
}

static void look_up(int pid, unsigned first, unsigned last)
{
    while (pid > 0 && pid < MOST_PIDS && !has[pid]) {
        struct seen *one = look(pid, first, last);
        if (!one)
            return;
        int parent = one->parent, session = one->session;
        if (session != pid && session > 0)
            look_up(session, first, last);
        pid = parent;
    }
}

static int pass(unsigned first, unsigned last)
{
    static int wanted[MOST_PIDS];
    int passed = 0, count = 0;
    char path[64], text[1024];
    struct dirent *entry;
    DIR *all = opendir("/proc");
    while ((entry = readdir(all))) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%.20s/status", entry->d_name);
        unsigned real, effective, saved;
        if (read_file(AT_FDCWD, path, text, sizeof text) <= 0 || !uids(text, &real, &effective, &saved))
            continue;
        passed++;
        if (real >= first && real <= last)
            wanted[count++] = atoi(entry->d_name);
    }
    closedir(all);
    while (count)
        look_up(wanted[--count], first, last);
    return passed;
}

static int idle(int number, unsigned uid)
{
    for (int leader = 0; leader < number; leader += SESSION) {
        pid_t child = fork();
        if (child < 0)
            return 1;
        if (child)
            continue;
        if (setgid(uid) || setuid(uid) || setsid() < 0)
            _exit(1);
        prctl(PR_SET_DUMPABLE, 1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 1; i < SESSION && leader + i < number; i++)
            if (fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                break;
            }
        for (;;)
            pause();
    }
    puts("started");
    fflush(stdout);
    getchar();
    return 0;
}

int main(int count, char **words)
{
    if (count == 4)
        return idle(atoi(words[2]), strtoul(words[3], NULL, 10));
    if (count != 3)
        return 2;
    unsigned first = strtoul(words[1], NULL, 10), last = strtoul(words[2], NULL, 10);
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        struct timespec before, after;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
        seen_count = 0;
        int passed = pass(first, last);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
        printf("%lld %d %zu\n", (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec, passed,
               seen_count);
        fflush(stdout);
        for (size_t i = 0; i < seen_count; i++)
            has[seen[i].pid] = 0;
    }
    return 0;
}
