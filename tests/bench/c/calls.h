/* What limit.c and steps.c have in common. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

/* Ends the program with the call that failed. */
#define TRY(call)                                                             \
	do {                                                                  \
		if ((call) == -1) {                                           \
			fprintf(stderr, "%s: %s\n", #call, strerror(errno));  \
			_exit(125);                                           \
		}                                                             \
	} while (0)

/* The kernel's struct clone_args, as of Linux 5.7. */
struct new_process {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack,
		stack_size, tls, set_tid, set_tid_size, cgroup;
};

/* clone3(2) without a stack: returns twice, like fork(2). */
static inline pid_t new_process(uint64_t flags, int cgroup)
{
	struct new_process args = { .flags = flags, .exit_signal = SIGCHLD };

	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup;
	}
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	TRY(pid);
	return pid;
}

/* Writes a text to a file of the kernel, in one write(2). */
static inline void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd == -1 || write(fd, text, strlen(text)) == -1) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		_exit(125);
	}
	close(fd);
}

/* A cgroup that we make in one tree. */
struct cgroup {
	const char *parent; /* "" if there is none for us */
	char path[4096];
	int entrance; /* version 1: `tasks`; version 2: the directory */
};

static inline void write_limit(const struct cgroup *cgroup, const char *file,
			       const char *value)
{
	char path[4200];

	snprintf(path, sizeof path, "%s/%s", cgroup->path, file);
	write_file(path, value);
}

/* Makes a cgroup of our own below `parent` and opens the way in. */
static inline void make_cgroup(struct cgroup *cgroup, const char *parent, int v2)
{
	char tasks[4200];

	cgroup->parent = parent;
	snprintf(cgroup->path, sizeof cgroup->path,
		 "%s/container-in-six-steps-bench.%d", parent, getpid());
	TRY(mkdir(cgroup->path, 0755));
	snprintf(tasks, sizeof tasks, v2 ? "%s" : "%s/tasks", cgroup->path);
	int flags = v2 ? O_RDONLY | O_DIRECTORY : O_WRONLY;
	TRY(cgroup->entrance = open(tasks, flags | O_CLOEXEC));
}

/* A process that has ended may still be counted for a moment. */
static inline void remove_cgroup(const struct cgroup *cgroup)
{
	while (rmdir(cgroup->path) == -1 && errno == EBUSY)
		usleep(1000);
}

/*
 * Gives a plain user the rights that the following calls need, in a user
 * namespace in which it is root. For root it does nothing.
 */
static inline void become_root(void)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();

	if (uid == 0)
		return;
	TRY(unshare(CLONE_NEWUSER));
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1", uid);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "0 %u 1", gid);
	write_file("/proc/self/gid_map", map);
}
