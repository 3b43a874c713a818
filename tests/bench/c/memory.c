/*
 * memory PROGRAM [ARGUMENT...]
 *
 * Runs the program and prints the most memory, in KiB, that any one process
 * was resident with: the program's own, or one that it has waited for. A
 * process counts what it had before its exec, too, so this program must be
 * smaller than whatever it measures. See ru_maxrss in getrusage(2).
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rusage usage;
	int status;
	pid_t pid = argc > 1 ? vfork() : -1;

	if (pid == 0) {
		/* The figure goes to standard output, alone. */
		dup2(2, 1);
		execv(argv[1], argv + 1);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0)
		return 125;
	printf("%ld\n", usage.ru_maxrss);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
