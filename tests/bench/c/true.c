/* What every container of the benchmark runs: it does nothing, well. */
int main(void)
{
	return 0;
}
