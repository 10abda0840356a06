"""Real tools on simulated genomes: reads with planted variants, to a VCF that is compared."""
