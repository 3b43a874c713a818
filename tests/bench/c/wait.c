/* Runs until its standard input ends, while somebody looks at its parents. */
#include <unistd.h>

int main(void)
{
	char byte;

	while (read(0, &byte, 1) > 0)
		;
	return 0;
}
