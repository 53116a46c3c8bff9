/* A fork bomb, bounded by RLIMIT_NPROC: bomb COUNTER_FILE UID LIMIT CHAINS STAYS SETSID
 * Every process of it adds to the counter, so the bomb is dead when the counter stands still. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    int file = open(argv[1], O_RDWR);
    volatile unsigned long *counter = mmap(0, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    uid_t uid = atoi(argv[2]);
    struct rlimit limit = {atoi(argv[3]), atoi(argv[3])};
    int chains = atoi(argv[4]), stays = atoi(argv[5]), leads_session = atoi(argv[6]);

    if (file < 0 || counter == MAP_FAILED || setrlimit(RLIMIT_NPROC, &limit) ||
        (getuid() != uid && (setgroups(0, 0) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))))
        return 1;
    while (--chains > 0 && fork() > 0)
        ;
    for (;;) {
        __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
        if (leads_session) setsid();
        if (fork() > 0 && !stays) _exit(0);
    }
}
