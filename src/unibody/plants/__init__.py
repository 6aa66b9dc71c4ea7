"""What a plant's machines and tools need next: failures, defects, processes, energy."""
